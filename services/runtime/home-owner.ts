/**
 * Which host a home belongs to, for homes on a volume that another host can mount: the lock of `home-lock.ts` does not reach over machines.
 *
 *   <home>/owner/NNNNNNNNNN   one file per ownership epoch; the highest is in force. Made once, exclusively, so that of several hosts that
 *                             want the same epoch one has it. Its owner writes a beat into it, in place, so that a full disk is no matter.
 *
 * Rules that keep two hosts from acknowledging mail into one journal:
 * - an owner may act for `lifeMs` from the moment it *began* its last good beat, on the monotonic clock; `owned-disk.ts` looks at that before
 *   whatever it changes, and after each durable write, before anybody can be told;
 * - another host takes over only after it has seen one and the same beat for longer than that on a clock of its own: nobody's wall
 *   clock counts. Its replay begins after everything the old owner acknowledged;
 * - an owner that meets a higher epoch ends at once.
 * A host knows itself again, also over its own restart, and waits for nobody then: its processes are told apart by the lock. A clean
 * stop releases the home. A machine that is suspended with its volume mounted elsewhere is safe where its monotonic clock counts on; the wall
 * clock is looked at too, because some do not.
 */

import { errorCode, errorText } from '../protocol/failure.ts'
import { makeDirectoryDurably } from './durable-file.ts'
import { isSameHost } from './host-identity.ts'
import type { Clock, Disk, Log, Timer } from './world.ts'

export interface OwnershipTerms {
  /** From a beat until its owner stops by itself. */
  readonly lifeMs: number
  readonly beatMs: number
  /** What two monotonic clocks may differ by over one life. */
  readonly marginMs: number
}

/** A lost host's home is taken over at most `lifeMs + marginMs + claimAgainMs` after another host begins to wait for it. */
export const defaultOwnershipTerms: OwnershipTerms = { lifeMs: 30_000, beatMs: 10_000, marginMs: 3_000 }

/** How soon whoever waits looks again. */
export const claimAgainMs = 1000

export interface HomeOwnerParts {
  readonly disk: Disk
  readonly clock: Clock
  readonly log: Log
  readonly home: string
  /** As `hostIdentity` writes it. */
  readonly host: string
  /** It is ours no longer: whatever is not acknowledged yet must not be. */
  readonly onLost: (why: string) => void
  readonly terms?: OwnershipTerms
}

interface OwnerRecord {
  readonly host: string
  readonly beat: number
  readonly released: boolean
}

/** `waiting` for another host's ownership to end; the reason is for people. */
export type ClaimStep = { readonly kind: 'owned' } | { readonly kind: 'waiting'; readonly why: string }

const recordBytes = 512
const epochDigits = 10

export class HomeOwner {
  readonly #parts: HomeOwnerParts
  readonly #terms: OwnershipTerms
  readonly #directory: string
  #epoch = 0
  #beat = 0
  #until: { readonly monotonic: number; readonly wall: number } | undefined
  /** A foreign beat, and since when it has been the same. */
  #seen: { readonly text: string; readonly sinceMs: number } | undefined
  #timer: Timer | undefined
  #beating: Promise<void> = Promise.resolve()
  #ended = false

  constructor(parts: HomeOwnerParts) {
    this.#parts = parts
    this.#terms = parts.terms ?? defaultOwnershipTerms
    this.#directory = `${parts.home}/owner`
  }

  /** The epoch we own it by; 0 before. */
  get epoch(): number {
    return this.#epoch
  }

  /** True while nobody else can have taken the home. */
  mayAct(): boolean {
    const { clock } = this.#parts
    const until = this.#until
    return until !== undefined && clock.monotonic() < until.monotonic && clock.now() < until.wall
  }

  /** One look, under the home's lock: owned, or to be asked again after `claimAgainMs`. Rejects where the home cannot be read or written. */
  async claim(): Promise<ClaimStep> {
    await makeDirectoryDurably(this.#parts.disk, this.#directory, 1)
    const epoch = await this.#highest()
    if (epoch === 0) return await this.#make(1)
    const text = await this.#read(epoch)
    const record = text === undefined ? undefined : readRecord(text)
    if (record !== undefined && (isSameHost(record.host, this.#parts.host) || record.released))
      return await this.#continue(epoch)
    return await this.#outwait(epoch, text, record)
  }

  /** Gives the home back, so that whoever comes next need not wait. Never rejects. */
  async release(): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    this.#timer?.cancel()
    await this.#beating
    if (!this.mayAct()) return
    this.#until = undefined
    await this.#write(this.#epoch, true).catch((error: unknown) => {
      this.#parts.log.warn('home not released', { home: this.#parts.home, error: errorText(error) })
    })
  }

  /** The same host, or one that gave it back: the file is there already, and writing over it needs no room. */
  async #continue(epoch: number): Promise<ClaimStep> {
    await this.#own(epoch, await this.#beatNow(epoch))
    return { kind: 'owned' }
  }

  async #outwait(epoch: number, text: string | undefined, record: OwnerRecord | undefined): Promise<ClaimStep> {
    const { clock } = this.#parts
    const { lifeMs, marginMs } = this.#terms
    const now = clock.monotonic()
    const seen = `${epoch} ${text ?? ''}`
    if (this.#seen?.text !== seen) this.#seen = { text: seen, sinceMs: now }
    const leftMs = this.#seen.sinceMs + lifeMs + marginMs - now
    const owner = record?.host ?? 'another host'
    if (leftMs > 0)
      return { kind: 'waiting', why: `${owner} owns it for at most ${Math.ceil(Math.round(leftMs) / 1000)} s more` }
    this.#parts.log.warn('home taken over', { home: this.#parts.home, from: owner, epoch: epoch + 1 })
    return await this.#make(epoch + 1)
  }

  async #make(epoch: number): Promise<ClaimStep> {
    const { disk, clock } = this.#parts
    const began = this.#validFrom(clock)
    try {
      const file = await disk.open(this.#nameOf(epoch), 'create')
      try {
        await file.writeDurably([this.#record(false)], 0)
      } finally {
        await file.close()
      }
      await disk.syncDirectory(this.#directory)
    } catch (error) {
      if (errorCode(error) === 'EEXIST') return { kind: 'waiting', why: 'another host takes it over at this moment' }
      throw error
    }
    await this.#own(epoch, began)
    return { kind: 'owned' }
  }

  async #own(epoch: number, until: { readonly monotonic: number; readonly wall: number }): Promise<void> {
    this.#epoch = epoch
    this.#until = until
    if ((await this.#highest()) > epoch) return this.#lose('another host has taken it over')
    this.#arm()
  }

  #arm(): void {
    this.#timer = this.#parts.clock.after(this.#terms.beatMs, () => {
      this.#beating = this.#renew().catch((error: unknown) =>
        this.#lose(`its ownership cannot be renewed: ${errorText(error)}`),
      )
    })
  }

  async #renew(): Promise<void> {
    if (this.#ended) return
    if (!this.mayAct()) return this.#lose('its ownership could not be renewed in time')
    const until = await this.#beatNow(this.#epoch)
    if ((await this.#highest()) > this.#epoch) return this.#lose('another host has taken it over')
    if (this.#ended) return
    // A beat that took longer than the life it renews came too late: somebody may have begun to wait before it.
    if (!this.mayAct()) return this.#lose('its ownership could not be renewed in time')
    this.#until = until
    this.#arm()
  }

  /** Resolves with until when the beat just written counts. */
  async #beatNow(epoch: number): Promise<{ readonly monotonic: number; readonly wall: number }> {
    const until = this.#validFrom(this.#parts.clock)
    await this.#write(epoch, false)
    return until
  }

  #validFrom(clock: Clock): { readonly monotonic: number; readonly wall: number } {
    const { lifeMs } = this.#terms
    return { monotonic: clock.monotonic() + lifeMs, wall: clock.now() + lifeMs }
  }

  async #write(epoch: number, released: boolean): Promise<void> {
    const file = await this.#parts.disk.open(this.#nameOf(epoch), 'write')
    try {
      await file.writeDurably([this.#record(released)], 0)
    } finally {
      await file.close()
    }
  }

  /** Always of the same length. Beats only have to differ from one another. */
  #record(released: boolean): Buffer {
    this.#beat = Math.max(this.#beat + 1, this.#parts.clock.now())
    const record: OwnerRecord = { host: this.#parts.host, beat: this.#beat, released }
    return Buffer.from(`${JSON.stringify(record).padEnd(recordBytes - 1)}\n`)
  }

  /** 0 where there is none. */
  async #highest(): Promise<number> {
    const names = await this.#parts.disk.list(this.#directory)
    return names.reduce((highest, name) => (/^[0-9]{10}$/.test(name) ? Math.max(highest, Number(name)) : highest), 0)
  }

  async #read(epoch: number): Promise<string | undefined> {
    try {
      return (await this.#parts.disk.readFile(this.#nameOf(epoch))).toString('utf8').trimEnd()
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined
      throw error
    }
  }

  #nameOf(epoch: number): string {
    return `${this.#directory}/${String(epoch).padStart(epochDigits, '0')}`
  }

  #lose(why: string): void {
    this.#until = undefined
    this.#timer?.cancel()
    if (this.#ended) return
    this.#ended = true
    this.#parts.onLost(why)
  }
}

/** Undefined where it is none: half written, or of a crash before the first beat. */
function readRecord(text: string): OwnerRecord | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return undefined
    const { host, beat, released } = value as Partial<Record<keyof OwnerRecord, unknown>>
    if (typeof host !== 'string' || typeof beat !== 'number' || typeof released !== 'boolean') return undefined
    return { host, beat, released }
  } catch {
    return undefined
  }
}
