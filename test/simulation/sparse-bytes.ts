/**
 * A file's bytes with holes: pages exist where something was written, everything else reads as zeros.
 *
 * A preallocated segment of many mebibytes costs nothing here until it is written.
 */

/** What a disk writes or does not write as a whole. */
export const sectorBytes = 512
const pageBytes = 4096

export class SparseBytes {
  size = 0
  #pages = new Map<number, Buffer>()

  write(bytes: Buffer, position: number): void {
    for (let done = 0; done < bytes.length; ) {
      const at = position + done
      const index = Math.floor(at / pageBytes)
      let page = this.#pages.get(index)
      if (page === undefined) {
        page = Buffer.alloc(pageBytes)
        this.#pages.set(index, page)
      }
      done += bytes.copy(page, at - index * pageBytes, done)
    }
    this.size = Math.max(this.size, position + bytes.length)
  }

  /** Fills `target` as far as the file goes; returns the bytes read. */
  read(target: Buffer, position: number): number {
    const count = Math.max(0, Math.min(target.length, this.size - position))
    for (let done = 0; done < count; ) {
      const at = position + done
      const index = Math.floor(at / pageBytes)
      const inside = at - index * pageBytes
      const length = Math.min(count - done, pageBytes - inside)
      const page = this.#pages.get(index)
      if (page === undefined) target.fill(0, done, done + length)
      else page.copy(target, done, inside, inside + length)
      done += length
    }
    return count
  }

  resize(size: number): void {
    if (size < this.size) {
      const last = Math.floor(size / pageBytes)
      for (const index of this.#pages.keys()) if (index > last) this.#pages.delete(index)
      this.#pages.get(last)?.fill(0, size - last * pageBytes)
    }
    this.size = size
  }

  /** True where writing [position, position + length) needs no page that is not there yet. */
  isAllocated(position: number, length: number): boolean {
    const last = Math.floor((position + length - 1) / pageBytes)
    for (let index = Math.floor(position / pageBytes); index <= last; index++) if (!this.#pages.has(index)) return false
    return true
  }

  become(other: SparseBytes): void {
    this.size = other.size
    this.#pages = new Map([...other.#pages].map(([index, page]) => [index, Buffer.from(page)]))
  }
}
