/**
 * Sizes as people write them: a whole number and a unit, `512B`, `64KiB`, `25MiB`, `10MB`.
 *
 * KiB, MiB and GiB count in 1024s, kB, MB and GB in 1000s. A number without a unit is refused, with what it would have
 * meant.
 */

import { type Reading, right, shown, wrong } from './reading.ts'

const unitBytes = {
  B: 1,
  kB: 1000,
  KB: 1000,
  MB: 1_000_000,
  GB: 1_000_000_000,
  KiB: 1024,
  MiB: 1_048_576,
  GiB: 1_073_741_824,
} as const

export const sizePattern = '^(0|[1-9][0-9]{0,14})(B|kB|KB|MB|GB|KiB|MiB|GiB)$'
const size = new RegExp(sizePattern)

/** Bytes. */
export function readSize(input: unknown): Reading<number> {
  const text = String(input).trim()
  if (typeof input === 'number' || /^[0-9]+$/.test(text)) {
    const meant = Number.isSafeInteger(Number(text)) && Number(text) >= 0 ? writeSize(Number(text)) : undefined
    return wrong(
      `${shown(text)} has no unit: qmail would have taken it as bytes`,
      meant === undefined
        ? 'write a unit, such as 25MiB'
        : `write ${meant} if that was meant, or another unit, such as 25MiB`,
    )
  }
  const match = typeof input === 'string' ? size.exec(text) : null
  if (match === null) {
    return wrong(
      `${shown(input)} is not a size`,
      'write a whole number and one of B, kB, MB, GB, KiB, MiB, GiB, such as 25MiB',
    )
  }
  const bytes = Number(match[1]) * unitBytes[match[2] as keyof typeof unitBytes]
  if (!Number.isSafeInteger(bytes)) return wrong(`${text} is larger than any disk`, 'write a smaller size')
  return right(bytes)
}

/** The shortest exact form. */
export function writeSize(bytes: number): string {
  if (bytes === 0) return '0B'
  for (const unit of ['GiB', 'MiB', 'KiB', 'GB', 'MB', 'kB'] as const) {
    if (bytes % unitBytes[unit] === 0) return `${bytes / unitBytes[unit]}${unit}`
  }
  return `${bytes}B`
}
