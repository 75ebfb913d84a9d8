/**
 * Why a call by gRPC did not come about, in one sentence. The library wraps the system's words in its own: what it was doing, when, and
 * what its resolver thought of it. Texts that are not its own are left as they are.
 */

const unconnected =
  /^No connection established\. Last error: (?:Error: )?(.*?)(?: \(\d{4}-[\d:.TZ-]+\))?\. Resolution note: .*$/s
const unresolved = /^Name resolution failed for target \w+:(.+):\d+$/
const late = /^Deadline exceeded after ([\d.]+)s,/
/** All it knows of a peer that closes the connection in the midst of a handshake. */
const unexplained = 'Failed to connect'

/** `where` is whom the call was for. */
export function plainReason(details: string, where: string): string {
  const [, reason] = unconnected.exec(details) ?? []
  if (reason !== undefined) return reason === unexplained ? `${where} ends the connection before it is ready` : reason
  const [, name] = unresolved.exec(details) ?? []
  if (name !== undefined) return `the name ${name} leads to no address`
  const [, seconds] = late.exec(details) ?? []
  return seconds === undefined ? details : `no answer from ${where} within ${Number(seconds).toFixed(1)} s`
}
