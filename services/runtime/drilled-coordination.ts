/**
 * Coordination that can play gone: what it passes on to the real one, it answers during a drill as a client does whose server cannot
 * be reached. Writes are `unreachable`, reads reject, requests find `no-responder`, nobody is answered, nothing is heard.
 *
 * An answer that comes while a drill runs is lost like one on a broken link: what was asked may have been done. Watches are told at
 * the end what changed meanwhile, the newest value of each key.
 */

import type {
  Change,
  Coordination,
  Entry,
  Json,
  RequestResult,
  Subscription,
  WriteResult,
} from '../contract/coordination.ts'
import type { Drills } from './drills.ts'
import type { CoordinationLinks } from './open-coordination.ts'

export class DrilledCoordination implements Coordination {
  readonly #real: Coordination
  readonly #drills: Drills
  /** What to do for each standing watch and service when the link goes and when it comes back. */
  readonly #standing = new Set<(isGone: boolean) => void>()

  constructor(real: Coordination, drills: Drills) {
    this.#real = real
    this.#drills = drills
    drills.play('coordination', (isGone) => {
      for (const turn of [...this.#standing]) turn(isGone)
    })
  }

  get(key: string): Promise<Entry | undefined> {
    return this.#read(() => this.#real.get(key))
  }

  list(prefix: string): Promise<readonly Entry[]> {
    return this.#read(() => this.#real.list(prefix))
  }

  create(key: string, value: Json): Promise<WriteResult> {
    return this.#write(() => this.#real.create(key, value))
  }

  update(key: string, value: Json, revision: number): Promise<WriteResult> {
    return this.#write(() => this.#real.update(key, value, revision))
  }

  put(key: string, value: Json): Promise<WriteResult> {
    return this.#write(() => this.#real.put(key, value))
  }

  delete(key: string): Promise<WriteResult> {
    return this.#write(() => this.#real.delete(key))
  }

  now(): Promise<number> {
    return this.#read(() => this.#real.now())
  }

  watch(prefix: string, changed: (change: Change) => void): Subscription {
    const held = new Map<string, Change>()
    const watch = this.#real.watch(prefix, (change) => {
      if (this.#isGone) held.set(change.key, change)
      else changed(change)
    })
    return this.#stand(watch, (isGone) => {
      if (isGone) return
      const missed = [...held.values()]
      held.clear()
      for (const change of missed) changed(change)
    })
  }

  async request(subject: string, value: Json, timeoutMs: number): Promise<RequestResult> {
    if (this.#isGone) return { kind: 'no-responder' }
    const result = await this.#real.request(subject, value, timeoutMs)
    return this.#isGone ? { kind: 'timeout' } : result
  }

  serve(subject: string, answer: (value: Json) => Promise<Json>): Subscription {
    let service: Subscription | undefined = this.#isGone ? undefined : this.#real.serve(subject, answer)
    const stop = () => {
      service?.stop()
      service = undefined
    }
    return this.#stand({ stop }, (isGone) => {
      if (isGone) stop()
      else service = this.#real.serve(subject, answer)
    })
  }

  publish(subject: string, value: Json): void {
    if (!this.#isGone) this.#real.publish(subject, value)
  }

  subscribe(subject: string, heard: (value: Json) => void): Subscription {
    return this.#real.subscribe(subject, (value) => {
      if (!this.#isGone) heard(value)
    })
  }

  close(): void {
    this.#standing.clear()
    this.#real.close()
  }

  get #isGone(): boolean {
    return this.#drills.isGone('coordination')
  }

  #stand(real: Subscription, turn: (isGone: boolean) => void): Subscription {
    this.#standing.add(turn)
    return {
      stop: () => {
        this.#standing.delete(turn)
        real.stop()
      },
    }
  }

  async #read<Value>(read: () => Promise<Value>): Promise<Value> {
    if (this.#isGone) throw unreachable()
    const value = await read()
    if (this.#isGone) throw unreachable()
    return value
  }

  async #write(write: () => Promise<WriteResult>): Promise<WriteResult> {
    if (this.#isGone) return { kind: 'unreachable' }
    const result = await write()
    return this.#isGone ? { kind: 'unreachable' } : result
  }
}

/** The links of a process whose shared one can play gone. With NATS, this host's hub goes on: it is not what is drilled. */
export function drilledLinks(links: CoordinationLinks, drills: Drills): CoordinationLinks {
  const shared = new DrilledCoordination(links.shared, drills)
  return {
    shared,
    all: links.all.map((link) => (link === links.shared ? shared : link)),
    get trouble() {
      const at = drills.goneSince('coordination')
      return at === undefined ? links.trouble : { why: 'a drill is running', at }
    },
    close: () => links.close(),
  }
}

function unreachable(): Error {
  return Object.assign(new Error('coordination cannot be reached: a drill is running'), { code: 'ECONNREFUSED' })
}
