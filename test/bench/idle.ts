/**
 * Memory per idle SMTP connection, and how long a new client waits for its greeting while they are held.
 *
 * Memory is the proportional set size of the server's process tree with N greeted, silent clients, less the same before
 * they came. Postfix spends a process on each connection: it is asked for fewer, and its case says how many.
 */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { memoryOf } from '../support/process-tree.ts'
import { type BenchOptions, type Measure, wanted } from './measure.ts'
import { startSubject } from './smtp-subject.ts'
import { median } from './statistics.ts'

const postfixConnections = 200
const connectionsAtOnce = 50
const settleMs = 3000
const newClients = 200

export const idle: Measure = {
  name: 'idle',
  what: 'memory per idle SMTP connection, greeting of new clients meanwhile',
  async run(options) {
    for (const connections of options.quick ? [1000] : [1000, 5000]) {
      const name = `${connections} idle`
      if (wanted(options, name)) await runCase(options, connections)
    }
  },
}

async function runCase(options: BenchOptions, connections: number): Promise<void> {
  for (let run = 1; run <= options.runs; run++) {
    for (const name of options.subjects.filter((one) => one !== 'floor')) {
      const count = name === 'postfix' ? Math.min(connections, postfixConnections) : connections
      // A fresh server each time: a process that has held thousands of connections does not give all memory back.
      const subject = await startSubject(name, options.directory, { kind: 'accept' })
      try {
        await greetedIn(subject.port)
        await sleep(settleMs)
        const before = memoryOf(subject.pid)
        const held = await hold(subject.port, count)
        await sleep(settleMs)
        const bytesPerConnection = (memoryOf(subject.pid) - before) / count
        const waits: number[] = []
        for (let client = 0; client < newClients; client++) waits.push(await greetedIn(subject.port))
        for (const socket of held) socket.destroy()
        const figures = { bytesPerConnection, greetingMsMedian: median(waits), greetingMsMax: Math.max(...waits) }
        options.record({ measure: 'idle', case: `${count} idle`, subject: name, run, figures })
      } finally {
        await subject.stop()
      }
    }
  }
}

/** `count` clients that have read their greeting and say nothing. */
async function hold(port: number, count: number): Promise<Socket[]> {
  const held: Socket[] = []
  while (held.length < count) {
    const batch = Math.min(connectionsAtOnce, count - held.length)
    held.push(...(await Promise.all(Array.from({ length: batch }, () => greeted(port)))))
  }
  return held
}

async function greeted(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' })
  const [chunk] = (await once(socket, 'data')) as [Buffer]
  if (!chunk.toString('latin1').startsWith('220')) throw new Error(`greeting: ${chunk.toString('latin1')}`)
  socket.on('error', () => socket.destroy())
  return socket
}

async function greetedIn(port: number): Promise<number> {
  const begun = performance.now()
  const socket = await greeted(port)
  const took = performance.now() - begun
  socket.destroy()
  return took
}
