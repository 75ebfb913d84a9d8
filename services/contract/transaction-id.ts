/**
 * The id a message keeps through every tier: 26 characters, time first, as ULID lays them out (48 bits of milliseconds, 80
 * of chance, Crockford base 32), then `-` and the number of the package where one transaction feeds several pools.
 *
 * The edge writes it into the Received line it adds; a queue instance reads it back there and answers `K` again for an
 * id it has committed. Only lines in our own form count, and only from peers the layout names.
 */

const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

export const transactionIdPattern = /^[0-9A-HJKMNP-TV-Z]{26}(?:-[0-9a-z]{1,8})?$/

/** `chance` is ten random bytes. */
export function makeTransactionId(nowMs: number, chance: Buffer): string {
  let time = ''
  let rest = nowMs
  for (let digit = 0; digit < 10; digit++) {
    time = alphabet.charAt(rest % 32) + time
    rest = Math.floor(rest / 32)
  }
  let random = ''
  for (let half = 0; half < 10; half += 5) {
    let value = chance.readUIntBE(half, 5)
    let part = ''
    for (let digit = 0; digit < 8; digit++) {
      part = alphabet.charAt(value % 32) + part
      value = Math.floor(value / 32)
    }
    random += part
  }
  return time + random
}

/** The id of package `index` of transaction `id`. */
export function packageId(id: string, index: number): string {
  return `${id}-${index.toString(36)}`
}

/**
 * The id of the bounce that reports message `number` of `instance`: the same at every hand-over, so that repeating one makes no
 * second bounce, and another one for every message, also where several carry one id.
 */
export function bounceId(id: string, instance: string, number: number): string {
  return `${transactionOf(id)}-b${hashOf(`${id}>${instance}>${number}`)}`
}

/**
 * The id under which `instance` forwards message `id` over QMTP: the same at every attempt, and another one than the
 * message came by, so that mail led round in a circle is never taken for its own repetition.
 */
export function forwardId(id: string, instance: string): string {
  return `${transactionOf(id)}-f${hashOf(`${id}>${instance}`)}`
}

/** FNV-1a, at most seven characters. */
function hashOf(text: string): string {
  let hash = 2166136261
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 16777619)
  return (hash >>> 0).toString(36)
}

/** The transaction a package or bounce id belongs to. */
export function transactionOf(id: string): string {
  return id.slice(0, 26)
}
