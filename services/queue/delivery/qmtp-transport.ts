/**
 * Delivers by QMTP over persistent, pipelined links, to one host of several that are equal (the instances of a
 * pool).
 *
 * An attempt is bound to the host its bytes were given to. As long as nothing of it was sent it may go to another;
 * once the outcome is unclear only the same host is asked again, here for a while and then in the attempts the queue
 * makes later, because that host answers `K` to an id it has without a second copy. The binding ends with an answer,
 * with the time limit, or when the destination no longer has the host. Every attempt is answered exactly once, never
 * from inside `attempt`. One timer serves all links, and only while there are any.
 */

import type { Attempt, Outcome, QmtpHost, Transport } from '../../contract/delivery.ts'
import { sameForAll } from '../../contract/delivery.ts'
import { tierIdentity } from '../../contract/identity.ts'
import type { Failure } from '../../protocol/failure.ts'
import { temporary } from '../../protocol/failure.ts'
import { sha256 } from '../../runtime/digest.ts'
import type { QmtpLinkLimits, QmtpLinkOutcome } from '../../runtime/qmtp-link.ts'
import { QmtpLink } from '../../runtime/qmtp-link.ts'
import { securityTo, type TierCredentials } from '../../runtime/tier-credentials.ts'
import type { Address, Timer, World } from '../../runtime/world.ts'
import { handoffLimitTable, standardLimits } from '../../settings/limits.ts'
import { BodyLoader } from './body-loader.ts'
import { QmtpDelivery } from './qmtp-delivery.ts'

export interface QmtpTransportLimits extends QmtpLinkLimits {
  /** An attempt nothing could be sent of waits this long for a connection. */
  readonly patienceMs: number
  /** An attempt whose outcome is unclear is offered to its host again for this long, then the queue tries again later. */
  readonly unclearRetryMs: number
  /** Later attempts are bound to the host this long; a host gone for longer has lost its claim. */
  readonly boundMs: number
  readonly boundMax: number
  /** A link without work closes. */
  readonly idleTimeoutMs: number
  /** Bodies held after being read from the disk, bytes. */
  readonly loadedBytesMax: number
}

const handoff = standardLimits(handoffLimitTable)

export const defaultQmtpTransportLimits: QmtpTransportLimits = {
  connectTimeoutMs: handoff.connectTimeoutMs,
  replyTimeoutMs: handoff.replyTimeoutMs,
  reconnectMinMs: handoff.reconnectMinMs,
  reconnectMaxMs: handoff.reconnectMaxMs,
  windowPackages: handoff.windowPackages,
  windowBytes: handoff.windowBytes,
  patienceMs: 10_000,
  unclearRetryMs: handoff.unclearRetryMs,
  boundMs: 4 * 3_600_000,
  boundMax: 100_000,
  idleTimeoutMs: 300_000,
  loadedBytesMax: 64 * 1024 * 1024,
}

export interface QmtpTransportOptions {
  /** This cluster's name and this instance, for the Received line of messages that have none of ours. */
  readonly cluster: string
  readonly instance: string
  readonly sourceAddress?: string
  /** For hops to instances of the cluster that speak TLS. */
  readonly credentials?: TierCredentials
  readonly limits?: Partial<QmtpTransportLimits>
}

type Done = (outcomes: readonly Outcome[]) => void

const closing = temporary('self', '4.3.2', 'delivery is stopping')
const bodyUnreadable = temporary('self', '4.3.0', 'stored message could not be read')
const sweepMs = 500

export class QmtpTransport implements Transport {
  readonly #world: World
  readonly #options: QmtpTransportOptions
  readonly #limits: QmtpTransportLimits
  readonly #loader: BodyLoader
  readonly #links = new Map<string, { readonly link: QmtpLink; usedAt: number }>()
  readonly #done = new Map<QmtpDelivery, Done>()
  /** Deliveries no link takes now; the sweep tries them again. */
  readonly #stranded = new Set<QmtpDelivery>()
  /** The host of each attempt whose outcome is unclear, by `boundKey`, oldest first. */
  readonly #bound = new Map<string, { readonly host: string; readonly until: number }>()
  #closed = false
  #sweep: Timer | undefined

  constructor(world: World, options: QmtpTransportOptions) {
    this.#world = world
    this.#options = options
    this.#limits = { ...defaultQmtpTransportLimits, ...options.limits }
    this.#loader = new BodyLoader(this.#limits.loadedBytesMax)
  }

  /** Takes destinations of kind `qmtp`. */
  attempt(attempt: Attempt, done: Done): void {
    const { destination } = attempt
    if (destination.kind !== 'qmtp') throw new Error(`QMTP does not deliver to ${destination.kind}`)
    const fail = (failure: Failure): void => done(sameForAll(attempt, { kind: 'failed', to: destination.key, failure }))
    if (this.#closed) return queueMicrotask(() => fail(closing))
    this.#loader.load(attempt.body, (text, release) => {
      if (text !== undefined && !this.#closed) return this.#begin(attempt, text, done, release)
      release()
      fail(text === undefined ? bodyUnreadable : closing)
    })
  }

  close(): void {
    this.#closed = true
    for (const { link } of this.#links.values()) link.close()
    for (const delivery of this.#stranded) queueMicrotask(() => this.#finish(delivery, delivery.failed(closing)))
    this.#stranded.clear()
  }

  #begin(attempt: Attempt, text: Buffer, done: Done, release: () => void): void {
    const { cluster, instance } = this.#options
    const origin = { cluster, instance, now: this.#world.clock.now() }
    const now = this.#world.clock.monotonic()
    const delivery = new QmtpDelivery(attempt, text, origin, now, this.#onSettled)
    delivery.boundTo = this.#boundHost(delivery, now)
    this.#done.set(delivery, (outcomes) => {
      release()
      done(outcomes)
    })
    this.#place(delivery)
    this.#watch()
  }

  /** To its bound host, or to the first one not tried in this round. */
  #place(delivery: QmtpDelivery): void {
    const link = this.#choose(delivery)
    if (link?.offer(delivery) === true) delivery.link = link
    else this.#stranded.add(delivery)
  }

  /**
   * The hosts in an order that only the message's id decides: after a crash, which forgets who was asked, the same host is
   * asked again, and it knows what it has.
   */
  #choose(delivery: QmtpDelivery): QmtpLink | undefined {
    const { hosts } = delivery
    const first = hashOf(delivery.attempt.id) % hosts.length
    for (let step = 0; step < hosts.length; step++) {
      const host = hosts[(first + step) % hosts.length]!
      const name = nameOf(host)
      if (delivery.boundTo === undefined ? delivery.tried.has(name) : delivery.boundTo !== name) continue
      const link = this.#linkTo(host)
      if (link.accepting) return link
    }
    return undefined
  }

  #linkTo({ host, port, instance }: QmtpHost): QmtpLink {
    const usedAt = this.#world.clock.monotonic()
    const name = `${host}:${port} ${instance ?? ''}`
    const kept = this.#links.get(name)
    if (kept !== undefined) {
      kept.usedAt = usedAt
      return kept.link
    }
    const { cluster, sourceAddress, credentials } = this.#options
    const own = instance === undefined ? undefined : tierIdentity(cluster, 'queue', instance)
    const security = own === undefined ? undefined : securityTo(credentials, own)
    const link = new QmtpLink(this.#world, { host, port }, this.#limits, sourceAddress, security)
    this.#links.set(name, { link, usedAt })
    link.start()
    return link
  }

  readonly #onSettled = (delivery: QmtpDelivery, outcome: QmtpLinkOutcome): void => {
    if (outcome.kind === 'answered') {
      if (this.#bound.size > 0) this.#bound.delete(boundKey(delivery.attempt))
      return this.#finish(delivery, delivery.outcomesOf(outcome.answers))
    }
    const now = this.#world.clock.monotonic()
    delivery.why = outcome.why
    const host = nameOf(delivery.link!.address)
    if (outcome.kind === 'unclear') {
      delivery.boundTo = host
      delivery.unclearAt ??= now
    } else delivery.tried.add(host)
    if (this.#isSpent(delivery, now)) this.#finish(delivery, this.#lastWord(delivery, now))
    else this.#place(delivery)
  }

  #isSpent(delivery: QmtpDelivery, now: number): boolean {
    if (this.#closed) return true
    if (delivery.unclearAt !== undefined) return now - delivery.unclearAt >= this.#limits.unclearRetryMs
    return now - delivery.begunAt >= this.#limits.patienceMs
  }

  /** The outcomes of a delivery nothing more is done for now. */
  #lastWord(delivery: QmtpDelivery, now: number): readonly Outcome[] {
    const why = delivery.why === '' ? '' : ` (${delivery.why.replace(/[^\x20-\x7e]+/g, '?')})`
    if (delivery.boundTo !== undefined && delivery.unclearAt !== undefined) {
      this.#bind(boundKey(delivery.attempt), delivery.boundTo, now)
      return delivery.failed(temporary('peer', '4.4.2', `no reply to the whole message, it may have arrived${why}`))
    }
    return delivery.failed(temporary('peer', '4.4.1', `no QMTP server takes mail${why}`))
  }

  #finish(delivery: QmtpDelivery, outcomes: readonly Outcome[]): void {
    const done = this.#done.get(delivery)
    this.#done.delete(delivery)
    done?.(outcomes)
  }

  #bind(key: string, host: string, now: number): void {
    this.#bound.delete(key)
    const oldest = this.#bound.keys().next()
    if (this.#bound.size >= this.#limits.boundMax && oldest.done !== true) this.#bound.delete(oldest.value)
    this.#bound.set(key, { host, until: now + this.#limits.boundMs })
  }

  #boundHost(delivery: QmtpDelivery, now: number): string | undefined {
    if (this.#bound.size === 0) return undefined
    const key = boundKey(delivery.attempt)
    const bound = this.#bound.get(key)
    if (bound === undefined) return undefined
    if (bound.until > now && delivery.hosts.some((host) => nameOf(host) === bound.host)) return bound.host
    this.#bound.delete(key)
    return undefined
  }

  #watch(): void {
    this.#sweep ??= this.#world.clock.after(sweepMs, () => {
      this.#sweep = undefined
      const now = this.#world.clock.monotonic()
      for (const { link } of this.#links.values()) link.check()
      for (const delivery of [...this.#stranded]) this.#retry(delivery, now)
      this.#closeIdle(now)
      if (this.#links.size > 0 || this.#stranded.size > 0) this.#watch()
    })
  }

  #retry(delivery: QmtpDelivery, now: number): void {
    this.#stranded.delete(delivery)
    delivery.tried.clear()
    if (this.#isSpent(delivery, now)) this.#finish(delivery, this.#lastWord(delivery, now))
    else this.#place(delivery)
  }

  #closeIdle(now: number): void {
    for (const [name, kept] of this.#links) {
      if (kept.link.load > 0) kept.usedAt = now
      else if (this.#closed || now - kept.usedAt >= this.#limits.idleTimeoutMs) {
        kept.link.close()
        this.#links.delete(name)
      }
    }
  }
}

/** Several attempts carry one message, each to other recipients, and each has a fate of its own. */
function boundKey({ id, recipients }: Attempt): string {
  return sha256([[id, ...recipients].join('\0')])
}

function nameOf(host: Address): string {
  return `${host.host}:${host.port}`
}

/** FNV-1a: spreads messages evenly over equal hosts. */
function hashOf(id: string): number {
  let hash = 2166136261
  for (let index = 0; index < id.length; index++) hash = Math.imul(hash ^ id.charCodeAt(index), 16777619)
  return hash >>> 0
}
