/**
 * Delivers by SMTP, to a named next hop or to the recipient domain's mail exchangers.
 *
 * A connection is kept for the next message to the same destination. What fails before MAIL was answered transferred
 * nothing, so the attempt goes on: once to a fresh connection where a kept one had died, then to the next address;
 * the last failure is the answer. What fails later is answered as the session says. Opportunistic TLS that cannot be
 * agreed on gives way to the clear, as no TLS would have. Every attempt is answered exactly once, never from inside
 * `attempt`. One timer watches the deadlines of all connections, and only while there are any.
 */

import type { Attempt, Outcome, Transport } from '../../contract/delivery.ts'
import { sameForAll } from '../../contract/delivery.ts'
import type { Failure } from '../../protocol/failure.ts'
import { temporary } from '../../protocol/failure.ts'
import type { SmtpOutcome, SmtpStage } from '../../protocol/smtp/client-session.ts'
import type { Timer, World } from '../../runtime/world.ts'
import type { SmtpTarget, TargetsResult } from './mail-exchangers.ts'
import type { SmtpTransportLimits } from './smtp-limits.ts'
import { defaultSmtpTransportLimits } from './smtp-limits.ts'
import type { SmtpLinkOwner } from './smtp-link.ts'
import { SmtpLink } from './smtp-link.ts'
import { TargetFinder } from './target-finder.ts'

export interface SmtpTransportOptions {
  /** The name given with EHLO; an exchanger of this name is ourselves. */
  readonly helloName: string
  /** Where connections come from; only addresses of its family are tried. */
  readonly sourceAddress?: string
  /** Further names of this system, lower case. */
  readonly ownNames?: readonly string[]
  /** Addresses where this system takes mail from the Internet. */
  readonly ownAddresses?: readonly string[]
  /** Mail exchangers with addresses that are not public: default `refuse`. */
  readonly privateTargets?: 'allow' | 'refuse'
  /** Port of mail exchangers: default 25. */
  readonly exchangerPort?: number
  readonly tls?: 'never' | 'opportunistic' | 'required'
  readonly limits?: Partial<SmtpTransportLimits>
}

/** One attempt on its way. */
interface Delivery {
  readonly attempt: Attempt
  readonly done: (outcomes: readonly Outcome[]) => void
  targets: readonly SmtpTarget[]
  next: number
  tls: 'never' | 'opportunistic' | 'required'
}

const closing = temporary('self', '4.3.2', 'delivery is stopping')
const sweepMs = 1000

export class SmtpTransport implements Transport, SmtpLinkOwner {
  readonly #world: World
  readonly #options: SmtpTransportOptions
  readonly #limits: SmtpTransportLimits
  readonly #finder: TargetFinder
  readonly #links = new Map<SmtpLink, Delivery | undefined>()
  /** Links without a delivery by destination; the last one back is the first one used. */
  readonly #idle = new Map<string, SmtpLink[]>()
  #idleCount = 0
  #closed = false
  #sweep: Timer | undefined

  constructor(world: World, options: SmtpTransportOptions) {
    this.#world = world
    this.#options = options
    this.#limits = { ...defaultSmtpTransportLimits, ...options.limits }
    const policy = {
      ownNames: new Set([options.helloName.toLowerCase(), ...(options.ownNames ?? [])]),
      ownAddresses: new Set(options.ownAddresses),
      privateTargets: options.privateTargets ?? 'refuse',
      port: options.exchangerPort ?? 25,
    }
    this.#finder = new TargetFinder(world, policy, this.#limits)
  }

  /** Takes destinations of kind `smtp` and `mx`. */
  attempt(attempt: Attempt, done: (outcomes: readonly Outcome[]) => void): void {
    const delivery: Delivery = { attempt, done, targets: [], next: 0, tls: this.#options.tls ?? 'opportunistic' }
    if (this.#closed) return this.#answerLater(delivery, attempt.destination.key, closing)
    const link = this.#takeIdle(attempt.destination.key)
    if (link === undefined) return this.#findTargets(delivery)
    this.#links.set(link, delivery)
    link.begin(attempt)
  }

  close(): void {
    this.#closed = true
    for (const links of [...this.#idle.values()]) for (const link of [...links]) this.#retire(link)
  }

  ready(link: SmtpLink, outcomes: readonly SmtpOutcome[] | undefined): void {
    const delivery = this.#links.get(link)
    if (outcomes === undefined && delivery !== undefined) return link.begin(delivery.attempt)
    this.#links.set(link, undefined)
    const used = this.#closed || link.begun >= this.#limits.messagesPerConnectionMax
    if (used || this.#idleCount >= this.#limits.idleConnectionsMax) link.quit()
    else this.#keepIdle(link)
    if (delivery !== undefined && outcomes !== undefined) delivery.done(named(outcomes, link.to))
  }

  failed(link: SmtpLink, stage: SmtpStage, failure: Failure, outcomes: readonly SmtpOutcome[] | undefined): void {
    const delivery = this.#links.get(link)
    this.#links.delete(link)
    this.#dropIdle(link)
    if (delivery === undefined) return
    if (outcomes !== undefined) return delivery.done(named(outcomes, link.to))
    const { to } = link
    this.#world.log.debug('smtp connection failed', { to, stage, text: failure.text })
    if (link.begun > 1) return this.#findTargets(delivery)
    if (stage === 'securing' && delivery.tls === 'opportunistic') {
      delivery.tls = 'never'
      delivery.next--
    }
    this.#connectNext(delivery, to, failure)
  }

  gone(link: SmtpLink): void {
    this.#links.delete(link)
  }

  #findTargets(delivery: Delivery): void {
    const { destination } = delivery.attempt
    if (destination.kind === 'smtp') {
      const { host, port } = destination
      delivery.targets = [{ name: host, address: host, port }]
      return this.#connectNext(delivery, destination.key, closing)
    }
    if (destination.kind !== 'mx') throw new Error(`SMTP does not deliver to ${destination.kind}`)
    const known = this.#finder.known(destination.domain)
    if (known !== undefined) return this.#onTargets(delivery, known)
    this.#finder.ask(destination.domain, (result) => this.#onTargets(delivery, result))
  }

  #onTargets(delivery: Delivery, result: TargetsResult): void {
    const { key } = delivery.attempt.destination
    if (result.kind === 'failed') return this.#answer(delivery, key, result.failure)
    const source = this.#options.sourceAddress
    const reachable = result.targets.filter(({ address }) => source === undefined || isSameFamily(address, source))
    delivery.targets = reachable.slice(0, this.#limits.targetsPerAttemptMax)
    this.#connectNext(delivery, key, noFamily)
  }

  /** Tries the next target; where none is left, `failure` is the answer. */
  #connectNext(delivery: Delivery, to: string, failure: Failure): void {
    const target = delivery.targets[delivery.next++]
    if (target === undefined) return this.#answerLater(delivery, to, failure)
    const { helloName, sourceAddress } = this.#options
    const { key } = delivery.attempt.destination
    const link = new SmtpLink(
      this.#world,
      { key, target, helloName, tls: delivery.tls, sourceAddress, limits: this.#limits },
      this,
    )
    this.#links.set(link, delivery)
    this.#watch()
  }

  #answer(delivery: Delivery, to: string, failure: Failure): void {
    delivery.done(sameForAll(delivery.attempt, { kind: 'failed', to, failure }))
  }

  #answerLater(delivery: Delivery, to: string, failure: Failure): void {
    queueMicrotask(() => this.#answer(delivery, to, failure))
  }

  #takeIdle(key: string): SmtpLink | undefined {
    const links = this.#idle.get(key)
    const link = links?.pop()
    if (links === undefined || link === undefined) return undefined
    this.#idleCount--
    if (links.length === 0) this.#idle.delete(key)
    return link
  }

  #keepIdle(link: SmtpLink): void {
    const { key } = link.options
    const links = this.#idle.get(key)
    if (links === undefined) this.#idle.set(key, [link])
    else links.push(link)
    this.#idleCount++
  }

  #dropIdle(link: SmtpLink): void {
    const { key } = link.options
    const links = this.#idle.get(key)
    const index = links?.indexOf(link) ?? -1
    if (links === undefined || index < 0) return
    links.splice(index, 1)
    this.#idleCount--
    if (links.length === 0) this.#idle.delete(key)
  }

  #retire(link: SmtpLink): void {
    this.#dropIdle(link)
    link.quit()
  }

  #watch(): void {
    this.#sweep ??= this.#world.clock.after(sweepMs, () => {
      this.#sweep = undefined
      const now = this.#world.clock.monotonic()
      for (const link of [...this.#links.keys()]) {
        if (link.isIdleAt(now)) this.#retire(link)
        else link.expire(now)
      }
      if (this.#links.size > 0) this.#watch()
    })
  }
}

const noFamily = temporary('self', '4.4.1', 'no address of the mail exchangers is of the family of our source address')

function isSameFamily(one: string, other: string): boolean {
  return one.includes(':') === other.includes(':')
}

function named(outcomes: readonly SmtpOutcome[], to: string): readonly Outcome[] {
  return outcomes.map((outcome) =>
    outcome.kind === 'delivered'
      ? { kind: 'delivered', to, text: outcome.text }
      : { kind: 'failed', to, failure: outcome.failure },
  )
}
