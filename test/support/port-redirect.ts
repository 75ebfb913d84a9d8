/**
 * Connections of this machine to some ports of loopback lead to others instead, without anybody who connects being told: so something can
 * stand on a wire between two programs that both are what they are. Needs root and `nft`.
 */

import { execFileSync } from 'node:child_process'
import { tool } from './tools.ts'

/** Who connects from here is not led elsewhere. */
export const directAddress = '127.77.0.1'

let made = 0

export class PortRedirect {
  readonly #table = `qmq${process.pid}x${++made}`
  readonly #leave = () => this.remove()

  /** `ports`: from what is dialled to where it leads. */
  constructor(ports: ReadonlyMap<number, number>) {
    const elements = [...ports].map(([from, to]) => `${from} : ${to}`).join(', ')
    const rule = `ip daddr 127.0.0.1 ip saddr != ${directAddress} meta l4proto tcp redirect to :tcp dport map { ${elements} }`
    const chain = `chain output {\ntype nat hook output priority -100;\n${rule}\n}`
    nft(`table ip ${this.#table} {\n${chain}\n}\n`)
    // Not left behind by a program that fails: it would mislead whoever listens there next.
    process.once('exit', this.#leave)
  }

  remove(): void {
    process.off('exit', this.#leave)
    nft(`delete table ip ${this.#table}\n`)
  }
}

function nft(input: string): void {
  execFileSync(tool('nft'), ['-f', '-'], { input, stdio: ['pipe', 'ignore', 'pipe'] })
}
