/**
 * Whole bodies in memory for transports that must write a message in one go: those that are there already at once,
 * those on the disk as far as `bytesMax` allows, one beyond it at most. The others wait their turn.
 */

import type { Body } from '../../contract/delivery.ts'

/** `text` is undefined where the disk could not be read. `release` must be called when the text is no longer needed. */
export type Loaded = (text: Buffer | undefined, release: () => void) => void

const nothing = Buffer.alloc(0)
const noRelease = (): void => {}

export class BodyLoader {
  readonly #bytesMax: number
  readonly #waiting: { readonly body: Body; readonly loaded: Loaded }[] = []
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** May call `loaded` before it returns, where the body is in memory. */
  load(body: Body, loaded: Loaded): void {
    if (body.bytes === 0) return loaded(nothing, noRelease)
    // One byte tells whether the body is in memory without reading it whole from the disk.
    const probe = body.slice(0, 1)
    const text = Buffer.isBuffer(probe) ? body.slice(0, body.bytes) : probe
    if (Buffer.isBuffer(text)) return loaded(text, noRelease)
    text.catch(noRelease)
    this.#waiting.push({ body, loaded })
    this.#readNext()
  }

  #readNext(): void {
    const next = this.#waiting[0]
    if (next === undefined) return
    const { body, loaded } = next
    if (this.#bytes > 0 && this.#bytes + body.bytes > this.#bytesMax) return
    this.#waiting.shift()
    this.#bytes += body.bytes
    let released = false
    const release = (): void => {
      if (released) return
      released = true
      this.#bytes -= body.bytes
      this.#readNext()
    }
    Promise.resolve(body.slice(0, body.bytes)).then(
      (text) => loaded(text.length === body.bytes ? text : undefined, release),
      () => loaded(undefined, release),
    )
    this.#readNext()
  }
}
