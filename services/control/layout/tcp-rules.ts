/**
 * Rules for tcprules: the networks that may relay, and what becomes of everyone else. Pure.
 *
 * Whole bytes are written as prefixes (`192.0.2.`), which every tcpserver reads; other networks as `address/bits`, which those
 * that know IPv6 read.
 */

/** Clients of `networks` may send anywhere; `others` may connect or may not. */
export function rulesText(networks: readonly string[], others: 'allow' | 'deny'): string {
  const rules = networks.map((network) => `${ruleAddress(network)}:allow,RELAYCLIENT=""\n`)
  return `${rules.join('')}:${others}\n`
}

function ruleAddress(network: string): string {
  const [address = '', bits = ''] = network.split('/')
  if (address.includes(':')) return bits === '128' ? address : network
  const whole = Number(bits) / 8
  if (whole === 4) return address
  return Number.isInteger(whole) && whole > 0 ? `${address.split('.').slice(0, whole).join('.')}.` : network
}
