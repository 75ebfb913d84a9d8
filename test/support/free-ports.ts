/**
 * Consecutive TCP ports nobody listens on, below the range the system hands out to clients.
 *
 * Test files run in several processes at once: each starts its search elsewhere, and a port given once is not given
 * again by the same process. Between the answer and the listener's bind the port may still be taken by a stranger; the
 * range keeps that unlikely, not impossible.
 */

import { once } from 'node:events'
import { createServer } from 'node:net'

const lowest = 10_000
const highest = 31_000
let next = lowest + ((process.pid * 131) % (highest - lowest))

export async function freePorts(count: number): Promise<number[]> {
  for (let tries = 0; tries < 200; tries++) {
    if (next + count > highest) next = lowest
    const ports = Array.from({ length: count }, (_, index) => next + index)
    next += count
    if (await allFree(ports)) return ports
  }
  throw new Error(`no ${count} consecutive free ports between ${lowest} and ${highest}`)
}

/** The first of `count` consecutive free ports. */
export async function freePortRange(count: number): Promise<number> {
  return (await freePorts(count))[0] as number
}

async function allFree(ports: readonly number[]): Promise<boolean> {
  const answers = await Promise.all(ports.map(isFree))
  return answers.every(Boolean)
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  const listening = once(server, 'listening').then(
    () => true,
    () => false,
  )
  server.listen(port, '127.0.0.1')
  const free = await listening
  if (free) {
    server.close()
    await once(server, 'close')
  }
  return free
}
