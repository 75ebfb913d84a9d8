/** Whether a port can be listened on, tried for a moment without sharing: shared ports never say that they are taken. */

import fs from 'node:fs'
import path from 'node:path'
import type { Layout } from '../contract/layout.ts'
import { errorCode, errorText } from '../protocol/failure.ts'
import { homeOwner } from '../runtime/home-lock.ts'
import type { World } from '../runtime/world.ts'

interface PortPlace {
  /** `e1 submission`, `00 qmtp`. */
  readonly who: string
  readonly host: string
  readonly port: number
}

/** Every address the layout listens on, once. */
export function portsOf(layout: Layout): readonly PortPlace[] {
  const edges = layout.edges.flatMap(({ id, listeners }) =>
    listeners.map(({ kind, host, port }) => ({ who: `${id} ${kind}`, host, port })),
  )
  const queues = layout.instances.map(({ id, host, port }) => ({ who: `${id} qmtp`, host, port }))
  const all = [...edges, ...queues].filter(({ port }) => port !== 0)
  // The first of several edges that share a listener speaks for all.
  return [...new Map(all.toReversed().map((place) => [`${place.host}:${place.port}`, place])).values()].toReversed()
}

/** The system's code, or its words; undefined where the port is free. */
export async function portProblem(world: World, host: string, port: number): Promise<string | undefined> {
  try {
    const listener = await world.network.listen({ host, port }, (connection) => {
      connection.destroy()
      return { onOpen() {}, onSecure() {}, onData() {}, onDrain() {}, onEnd() {}, onClose() {} }
    })
    await listener.close()
    return undefined
  } catch (error) {
    return errorCode(error) || errorText(error)
  }
}

/**
 * One line per port that no restart will help: taken by another program, or forbidden. Empty while processes of an earlier `qmq
 * up` on this state are still ending: theirs are the ports then, and soon ours.
 */
export async function portsRefused(world: World, state: string, layout: Layout): Promise<readonly string[]> {
  if (hasLiveHomes(state)) return []
  const lines: string[] = []
  for (const { who, host, port } of portsOf(layout)) {
    const problem = await portProblem(world, host, port)
    if (problem === 'EADDRINUSE') lines.push(`port ${port} of ${host}, wanted for ${who}, is taken by another program`)
    if (problem === 'EACCES')
      lines.push(`port ${port} of ${host}, wanted for ${who}, may not be used: permission denied`)
  }
  return lines
}

function hasLiveHomes(state: string): boolean {
  const homes = ['edges', 'instances'].flatMap((tier) => {
    const directory = path.join(state, tier)
    return fs.existsSync(directory) ? fs.readdirSync(directory).map((name) => path.join(directory, name)) : []
  })
  return homes.some((home) => homeOwner(home) !== undefined)
}
