/**
 * One run: a redis-server on a host and a disk of its own, two edges that share through it, mail all the time, deed after deed; then every
 * message that was acknowledged must be in the queue, once.
 *
 * Messages of which one recipient is committed at the first try and the other never come again and again. Their first recipient's copy is
 * one while the edge remembers. A server that has forgotten what it was told to keep costs a second one: a trouble adds
 * at most one to each such message.
 */

import assert from 'node:assert/strict'
import { until } from '../shared-state/clients.ts'
import { MailUnderLoad } from '../shared-state/mail-under-load.ts'
import { NetworkHosts } from '../support/network-hosts.ts'
import { PowerCutDisk } from '../support/power-cut-disk.ts'
import { RedisServer } from '../support/redis-server.ts'
import type { Cleanup } from '../support/temporary-directory.ts'
import { type RedisDeed, redisDeeds } from './redis-deeds.ts'

export interface RedisReport {
  readonly accepted: number
  /** Replies that are not those there must be. */
  readonly wrong: readonly string[]
  /** Acknowledged, and not in the queue. */
  readonly lost: readonly string[]
  /** Acknowledged, and in the queue more than once. */
  readonly duplicates: number
  /** Of messages partly committed. */
  readonly secondCopies: number
  readonly slowestMs: number
  readonly balanced: boolean
}

const edgeCount = 2
const clientsOfEachKind = 6
const repliesEach = 150
const deadlineMs = 300
const diskBytes = 256 * 1024 ** 2
const patienceMs = 30_000

/** Rejects where an edge does not come back to the server; the verdict on the mail is the caller's. */
export async function runRedisDeeds(
  test: Cleanup,
  names: readonly string[],
  say: (text: string) => void,
): Promise<RedisReport> {
  const hosts = NetworkHosts.make(test, 1, edgeCount)
  const disk = await PowerCutDisk.make(diskBytes)
  const stops: (() => unknown)[] = [() => disk.destroy()]
  // In this order, whatever the order of the test's own cleaning up.
  test.after(async () => {
    for (const stop of stops.reverse()) await stop()
  })
  const place = { after: (stop: () => unknown) => void stops.push(stop) }
  const redis = await RedisServer.start(place, { disk, host: hosts.address(1), starter: hosts.starter(1) })
  const ways = Array.from({ length: edgeCount }, (_, index) => hosts.address(1, index + 1))
  const mail = await MailUnderLoad.start(
    place,
    ways.map((host) => ({ host, port: redis.port, database: 0, deadlineMs })),
  )
  const untilReached = (wanted: readonly boolean[]) =>
    until(() => mail.edges.every((edge, index) => edge.state().sharedState?.reached === wanted[index]), patienceMs)
  await untilReached(ways.map(() => true))
  mail.load(clientsOfEachKind)
  const meanwhile = () => mail.more(repliesEach)
  for (const name of names) {
    const deed = redisDeeds[name] as RedisDeed
    await deed({ test: place, redis, hosts, ways, meanwhile, untilReached, say })
    say(`${name}: well again, ${mail.acknowledged.length} messages so far`)
  }
  await mail.stop()
  return reportOf(mail, names.length)
}

function reportOf(mail: MailUnderLoad, troubles: number): RedisReport {
  const { acknowledged, wrong, slowestMs, audit } = mail
  const copies = mail.copies()
  const countOf = (id: string) => copies.get(id) ?? 0
  const secondCopies = audit.queued - acknowledged.length - clientsOfEachKind
  const isExplained = secondCopies >= 0 && secondCopies <= clientsOfEachKind * troubles
  assert.ok(isExplained, `${secondCopies} second copies of ${clientsOfEachKind} messages after ${troubles} troubles`)
  return {
    ...{ accepted: acknowledged.length, wrong, lost: acknowledged.filter((id) => countOf(id) === 0) },
    duplicates: acknowledged.filter((id) => countOf(id) > 1).length,
    secondCopies,
    ...{ slowestMs: Math.round(slowestMs), balanced: audit.balanced },
  }
}
