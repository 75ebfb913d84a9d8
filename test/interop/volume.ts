/**
 * Volume: many messages of mixed sizes from `smtp-source` through a cluster to `smtp-sink`, a sample of them to a real
 * Postfix that files them as Maildir, and a number of refused recipients whose bounces must leave through BOUNCES.
 *
 * `node test/interop/volume.ts [--messages N] [--refused N] [--sample N] [--sessions N]`; prints one JSON line, exits 1
 * when anything is missing, damaged, in the wrong place, or the audit does not balance. Root, for Postfix.
 */

import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { hashOf } from '../crash/outside-ledger.ts'
import { Child, runWell } from '../support/child.ts'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { freePorts } from '../support/free-ports.ts'
import { MailClient } from '../support/mail-client.ts'
import { Postfix } from '../support/postfix.ts'
import { makeTemporaryDirectory } from '../support/temporary-directory.ts'
import { tool } from '../support/tools.ts'
import { type Arrivals, arrivals, bodyOf, until } from './peers.ts'

export interface VolumeOptions {
  readonly messages: number
  readonly refused: number
  readonly sample: number
  readonly sessions: number
}

export interface VolumeReport {
  readonly arrived: number
  /** Of the sample: filed by Postfix with the bytes that were sent. */
  readonly exact: number
  readonly bounces: number
  /** Bounces that did not come from the BOUNCES pool, or went elsewhere. */
  readonly bouncesAstray: number
  readonly balanced: boolean
  readonly audit: unknown
  readonly seconds: number
}

const arrivalTimeoutMs = 600_000

/** Share of the messages, and their bytes: most mail is small, some is not. */
const sizes: readonly (readonly [number, number])[] = [
  [0.5, 2 * 1024],
  [0.3, 10 * 1024],
  [0.15, 60 * 1024],
  [0.04, 300 * 1024],
  [0.01, 1024 * 1024],
]

class Cleanups {
  readonly #tasks: (() => void | Promise<void>)[] = []

  after(task: () => void | Promise<void>): void {
    this.#tasks.unshift(task)
  }

  async run(): Promise<void> {
    for (const task of this.#tasks) await task()
  }
}

export async function runVolume(options: VolumeOptions): Promise<VolumeReport> {
  const cleanups = new Cleanups()
  try {
    return await volume(options, cleanups)
  } finally {
    await cleanups.run()
  }
}

async function volume(options: VolumeOptions, cleanups: Cleanups): Promise<VolumeReport> {
  const directory = makeTemporaryDirectory('qmq-volume')
  cleanups.after(() => rmSync(directory, { recursive: true, force: true }))
  const [sinkPort, postfixPort] = (await freePorts(2)) as [number, number]
  const sink = new Child(tool('smtp-sink'), ['-u', 'nobody', '-c', `127.0.0.1:${sinkPort}`, '1000'])
  cleanups.after(async () => {
    await sink.stop()
  })
  const mailboxes = await startFiling(directory, postfixPort, cleanups)
  const refusing = await arrivals(cleanups, () => '550 5.1.1 nobody here')
  const bounces = await arrivals(cleanups)
  const ports = await clusterPorts()
  const nextHops = `{ filed.customer1.example: "smtp:127.0.0.1:${postfixPort}", refused.customer1.example: "smtp:127.0.0.1:${refusing.port}" }`
  const conf = clusterConf(ports, {
    deliver: `smtp:127.0.0.1:${sinkPort}`,
    customer: { 'next-hops': nextHops },
    bounces: { deliver: `"smtp:127.0.0.1:${bounces.port}"` },
  })
  const cluster = new Cluster(join(directory, 'qmq'), conf)
  cleanups.after(async () => {
    await cluster.stop()
  })
  await cluster.untilReady()

  const begun = performance.now()
  const [sent, hashes] = await Promise.all([
    sendMixed(options, ports.smtp),
    sendOwn(ports.smtp, options.sample, (index) => `user${index}@filed.customer1.example`),
    sendOwn(ports.smtp, options.refused, (index) => `user${index}@refused.customer1.example`),
  ])
  const filed = (): number => (existsSync(mailboxes) ? readdirSync(mailboxes).length : 0)
  const state = (): string => `${sinkCount(sink)}/${sent} arrived, ${filed()} filed, ${bounces.mails.length} bounces`
  const complete = (): boolean =>
    sinkCount(sink) >= sent && filed() >= options.sample && bounces.mails.length >= options.refused
  await until(complete, arrivalTimeoutMs, state)
  const seconds = (performance.now() - begun) / 1000

  const filedHashes = readdirSync(mailboxes).map((name) => hashOf(bodyOf(readFileSync(join(mailboxes, name)))))
  const { answer } = await cluster.ask(['audit'])
  return {
    arrived: sinkCount(sink),
    exact: hashes.filter((hash) => filedHashes.includes(hash)).length,
    bounces: bounces.mails.length,
    bouncesAstray: astray(bounces),
    balanced: (answer as { balanced?: boolean } | undefined)?.balanced === true,
    audit: answer,
    seconds,
  }
}

/** Bounces have the empty sender and the BOUNCES instance among their hops. */
function astray(bounces: Arrivals): number {
  const senders = new Set<string>()
  let wrong = 0
  for (const mail of bounces.mails) {
    const once = !senders.has(mail.recipients.join())
    senders.add(mail.recipients.join())
    if (mail.sender !== '' || !once) wrong++
  }
  return wrong
}

function sinkCount(sink: Child): number {
  const last = sink.stdout.lastIndexOf('mesg=')
  return last < 0 ? 0 : Number.parseInt(sink.stdout.slice(last + 5), 10)
}

/** Postfix as a real receiving server: it files one domain's mail in one Maildir, whose `new` folder is returned. */
async function startFiling(directory: string, port: number, cleanups: Cleanups): Promise<string> {
  const base = join(directory, 'filed')
  mkdirSync(base)
  const nobody = 65_534
  chownSync(base, nobody, nobody)
  const postfix = await Postfix.start({
    directory: join(directory, 'postfix'),
    port,
    settings: {
      virtual_mailbox_domains: 'filed.customer1.example',
      virtual_mailbox_maps: 'static:box/',
      virtual_mailbox_base: base,
      virtual_uid_maps: `static:${nobody}`,
      virtual_gid_maps: `static:${nobody}`,
      virtual_mailbox_limit: '0',
    },
  })
  cleanups.after(() => postfix.stop())
  return join(base, 'box/new')
}

async function sendMixed(options: VolumeOptions, port: number): Promise<number> {
  let sent = 0
  const sources = sizes.map(async ([share, bytes]) => {
    const count = Math.max(1, Math.round(options.messages * share))
    const sessions = Math.max(1, Math.round(options.sessions * share))
    sent += count
    const load = ['-s', String(sessions), '-l', String(bytes), '-m', String(count)]
    const envelope = ['-f', 'volume@example.net', '-t', 'sink@customer1.example']
    await runWell(tool('smtp-source'), [...load, ...envelope, `127.0.0.1:${port}`])
  })
  await Promise.all(sources)
  return sent
}

/** One message to each of `count` recipients, each from its own sender; resolves with the hashes of their texts. */
async function sendOwn(port: number, count: number, recipient: (index: number) => string): Promise<string[]> {
  const hashes: string[] = []
  if (count === 0) return hashes
  const client = await MailClient.connect(port)
  for (let index = 0; index < count; index++) {
    const body = `${recipient(index)}\r\n.\xe9\r\n${'0123456789abcdef\r\n'.repeat((index * 37) % 4000)}`
    const data = Buffer.from(`From: <a@example.net>\r\nSubject: ${index}\r\n\r\n${body}`, 'latin1')
    const reply = await client.send({ sender: `author${index}@example.net`, recipients: [recipient(index)], data })
    if (reply.code !== 250) throw new Error(`${recipient(index)}: ${reply.code} ${reply.text}`)
    hashes.push(hashOf(body))
  }
  await client.quit()
  return hashes
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      messages: { type: 'string', default: '20000' },
      refused: { type: 'string', default: '500' },
      sample: { type: 'string', default: '200' },
      sessions: { type: 'string', default: '20' },
    },
  })
  const options = {
    messages: Number(values.messages),
    refused: Number(values.refused),
    sample: Number(values.sample),
    sessions: Number(values.sessions),
  }
  const report = await runVolume(options)
  const good = report.exact === options.sample && report.bounces === options.refused && report.bouncesAstray === 0
  process.stdout.write(`${JSON.stringify({ good: good && report.balanced, ...report })}\n`)
  return good && report.balanced ? 0 : 1
}

if (import.meta.main) process.exitCode = await main()
