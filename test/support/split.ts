/** The split law's cuts: one input, delivered whole, byte by byte, and cut at random places from a seed. */

/** Pieces of `input` for each way of cutting. */
export function cuttings(input: Buffer, seed = 1, random = 8): Buffer[][] {
  const bytes = [...input].map((byte) => Buffer.from([byte]))
  const ways = [[input], bytes]
  const next = randomSource(seed)
  for (let way = 0; way < random; way++) {
    const pieces: Buffer[] = []
    let start = 0
    while (start < input.length) {
      const end = Math.min(input.length, start + 1 + Math.floor(next() * next() * 40))
      pieces.push(input.subarray(start, end))
      start = end
    }
    ways.push(pieces)
  }
  return ways
}

/** Numbers in [0, 1) from a seed (mulberry32). */
export function randomSource(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

export function randomBytes(next: () => number, count: number): Buffer {
  const bytes = Buffer.alloc(count)
  for (let index = 0; index < count; index++) bytes[index] = Math.floor(next() * 256)
  return bytes
}
