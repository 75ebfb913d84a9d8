/**
 * Delivers into Maildirs below one root, one file per recipient, as qmail-local does.
 *
 * A mailbox exists where its directory has `new`; nobody's mail makes one. The message gets Return-Path and
 * Delivered-To lines and LF line ends. A message that has been in the mailbox before is looping and fails for good.
 * What the disk says against is temporary; so is a root or domain that is missing or empty, or a mailbox that is no
 * Maildir, which is what an unmounted disk looks like.
 */

import type { Attempt, Body, Outcome, Transport } from '../contract/delivery.ts'
import { sameForAll } from '../contract/delivery.ts'
import type { ByteString } from '../protocol/byte-string.ts'
import type { Failure } from '../protocol/failure.ts'
import { errorCode, permanent, temporary } from '../protocol/failure.ts'
import { headerOf, wasDeliveredTo } from '../protocol/headers.ts'
import { formatPath } from '../protocol/smtp/address.ts'
import type { Disk, World } from '../runtime/world.ts'
import { LineFeedWriter } from './line-feed-writer.ts'
import { mailboxNames, noMailbox } from './mailbox-name.ts'
import { makeMaildir, writeToMaildir } from './maildir.ts'

export interface MaildirTransportOptions {
  /** The directory that holds `DOMAIN/LOCAL/`. */
  readonly root: string
  /** The last part of a file's name; no two writers of one Maildir may share it. */
  readonly hostName: string
  readonly headerBytesMax?: number
}

const pieceBytesMax = 1024 * 1024
const headerBytesMaxStandard = 1024 * 1024

const looping = permanent('sender', '5.4.6', 'This message is looping: it already has my Delivered-To line.')
const headerTooLong = permanent('sender', '5.3.4', 'The header of this message exceeds my limit.', 552)
const closing = temporary('self', '4.3.2', 'delivery is stopping')
const noMaildir = temporary('self', '4.3.5', 'The mailbox is there but is no Maildir; its disk may be missing.')
const noRoot = temporary('self', '4.3.5', 'The mailboxes are not there at all; their disk may be missing.')

/** Makes the mailbox of an address; content with one that exists. Rejects where the address can have none. */
export async function makeMailbox(disk: Disk, root: string, address: ByteString): Promise<void> {
  const names = mailboxNames(address)
  const directory = names.kind === 'names' ? names.directories[0] : undefined
  if (directory === undefined) throw new Error(`no mailbox can have the address ${JSON.stringify(address)}`)
  await disk.makeDirectory(root)
  await makeMaildir(disk, root, directory)
}

export class MaildirTransport implements Transport {
  readonly #world: World
  readonly #options: MaildirTransportOptions
  #written = 0
  #closed = false

  constructor(world: World, options: MaildirTransportOptions) {
    this.#world = world
    this.#options = options
  }

  /** Takes destinations of kind `maildir`. */
  attempt(attempt: Attempt, done: (outcomes: readonly Outcome[]) => void): void {
    const refused = (failure: Failure): readonly Outcome[] =>
      sameForAll(attempt, { kind: 'failed', to: 'maildir', failure })
    if (this.#closed) return queueMicrotask(() => done(refused(closing)))
    this.#deliver(attempt).then(
      (outcomes) => done(outcomes),
      (error: unknown) => done(refused(failureOf(error))),
    )
  }

  close(): void {
    this.#closed = true
  }

  async #deliver(attempt: Attempt): Promise<readonly Outcome[]> {
    const header = await this.#headerOf(attempt)
    if (header === undefined) return sameForAll(attempt, { kind: 'failed', to: 'maildir', failure: headerTooLong })
    const outcomes: Outcome[] = []
    for (const recipient of attempt.recipients) {
      if (wasDeliveredTo(header, recipient)) outcomes.push({ kind: 'failed', to: 'maildir', failure: looping })
      else outcomes.push(await this.#deliverTo(attempt, recipient))
    }
    return outcomes
  }

  /** Undefined where it is longer than the limit. */
  async #headerOf(attempt: Attempt): Promise<Buffer | undefined> {
    const bytesMax = this.#options.headerBytesMax ?? headerBytesMaxStandard
    const { body } = attempt
    if (body.bytes === 0) return Buffer.alloc(0)
    const start = await body.slice(0, Math.min(body.bytes, bytesMax + 4))
    return headerOf([start], body.form, bytesMax)
  }

  async #deliverTo(attempt: Attempt, recipient: ByteString): Promise<Outcome> {
    const names = mailboxNames(recipient)
    if (names.kind === 'refused') return { kind: 'failed', to: 'maildir', failure: names.failure }
    try {
      for (const directory of names.directories) {
        if (await this.#write(attempt, recipient, directory))
          return { kind: 'delivered', to: `maildir ${directory}`, text: 'did 1+0+0' }
        if (await this.#isThere(directory)) return { kind: 'failed', to: `maildir ${directory}`, failure: noMaildir }
      }
      return { kind: 'failed', to: 'maildir', failure: await this.#missing(names.directories[0]!) }
    } catch (error) {
      this.#world.log.warn('mailbox not written', { id: attempt.id, code: errorCode(error) })
      return { kind: 'failed', to: `maildir ${names.directories[0]}`, failure: failureOf(error) }
    }
  }

  /** False where there is no such Maildir. */
  async #write(attempt: Attempt, recipient: ByteString, directory: string): Promise<boolean> {
    const maildir = `${this.#options.root}/${directory}`
    try {
      await writeToMaildir(this.#world.disk, maildir, this.#uniqueName(), piecesOf(attempt, recipient))
      return true
    } catch (error) {
      const code = errorCode(error)
      if (code === 'ENOENT' || code === 'ENOTDIR') return false
      throw error
    }
  }

  /** True for whatever has the name of a mailbox, be it a directory or not. */
  async #isThere(directory: string): Promise<boolean> {
    const parent = directory.slice(0, directory.indexOf('/'))
    try {
      await this.#world.disk.list(`${this.#options.root}/${directory}`)
      return true
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return false
      if (errorCode(error) === 'ENOTDIR') return this.#hasEntries(parent)
      throw error
    }
  }

  /** Nobody says for good that a mailbox is missing where no mailboxes can be seen at all. */
  async #missing(directory: string): Promise<Failure> {
    const domain = directory.slice(0, directory.indexOf('/'))
    return (await this.#hasEntries(domain)) ? noMailbox : noRoot
  }

  async #hasEntries(directory: string): Promise<boolean> {
    try {
      return (await this.#world.disk.list(`${this.#options.root}/${directory}`)).length > 0
    } catch {
      return false
    }
  }

  /** Time, chance, count and host, as Maildir names are; `/` and `:` have meanings there. */
  #uniqueName(): string {
    const { clock, random } = this.#world
    const host = this.#options.hostName.replace(/[^A-Za-z0-9._-]/g, '_')
    const chance = random.bytes(8).toString('hex')
    return `${Math.floor(clock.now() / 1000)}.R${chance}Q${++this.#written}.${host}`
  }
}

async function* piecesOf(attempt: Attempt, recipient: ByteString): AsyncGenerator<readonly Buffer[]> {
  const { body } = attempt
  const writer = new LineFeedWriter(body.form)
  yield [Buffer.from(`Return-Path: ${formatPath(oneLine(attempt.sender))}\nDelivered-To: ${recipient}\n`, 'latin1')]
  for (let position = 0; position < body.bytes; position += pieceBytesMax) {
    yield writer.write(await readPiece(body, position, Math.min(pieceBytesMax, body.bytes - position)))
  }
  yield writer.finish()
}

/** A stored message that is gone must not look like a mailbox that is not there. */
async function readPiece(body: Body, position: number, length: number): Promise<Buffer> {
  try {
    return await body.slice(position, length)
  } catch (cause) {
    throw Object.assign(new Error('stored message could not be read', { cause }), { code: 'EIO' })
  }
}

function oneLine(address: ByteString): ByteString {
  return address.replace(/[\x00-\x1f\x7f]/g, '_')
}

function failureOf(error: unknown): Failure {
  const code = errorCode(error)
  const full = code === 'ENOSPC' || code === 'EDQUOT'
  if (full) return temporary('self', '4.2.2', 'The disk of this mailbox is full.', 452)
  return temporary('self', '4.3.0', `The mailbox cannot be written now${code === '' ? '' : ` (${code})`}.`)
}
