/**
 * Reading the ledger back: every event of some transactions, found by their ids as bytes, decoding only lines that match.
 *
 * Works on the files of a running instance and of a dead one alike. Lines that are torn or no JSON are passed over.
 */

import type { LedgerEvent } from '../contract/ledger.ts'
import { transactionOf } from '../contract/transaction-id.ts'
import { errorCode } from '../protocol/failure.ts'
import { currentLedgerName } from './ledger-file.ts'
import type { Disk, DiskFile } from './world.ts'

const readBytes = 1024 * 1024

/**
 * Events of `id`'s transaction, its packages and its bounces, oldest file first. An absent ledger is empty; a file that
 * vanishes meanwhile was rotated away. Other trouble rejects.
 */
export async function searchLedger(disk: Disk, directory: string, id: string): Promise<readonly LedgerEvent[]> {
  const needle = Buffer.from(`"id":"${transactionOf(id)}`)
  const events: LedgerEvent[] = []
  for (const name of await ledgerNames(disk, directory)) {
    const file = await openIfThere(disk, `${directory}/${name}`)
    if (file === undefined) continue
    try {
      await searchFile(file, needle, events)
    } finally {
      await file.close()
    }
  }
  return events
}

/** Closed files by age, then the current one. */
async function ledgerNames(disk: Disk, directory: string): Promise<readonly string[]> {
  try {
    const names = await disk.list(directory)
    return [...names.filter((name) => /^\d+$/.test(name)), currentLedgerName]
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  }
}

async function openIfThere(disk: Disk, path: string): Promise<DiskFile | undefined> {
  try {
    return await disk.open(path, 'read')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

async function searchFile(file: DiskFile, needle: Buffer, events: LedgerEvent[]): Promise<void> {
  const block = Buffer.alloc(readBytes)
  let rest: Buffer = Buffer.alloc(0)
  for (let position = 0; ; ) {
    const count = await file.read(block, position)
    if (count === 0) break
    position += count
    const bytes = Buffer.concat([rest, block.subarray(0, count)])
    const end = bytes.lastIndexOf(10) + 1
    searchLines(bytes.subarray(0, end), needle, events)
    rest = bytes.subarray(end)
  }
}

function searchLines(bytes: Buffer, needle: Buffer, events: LedgerEvent[]): void {
  for (let at = bytes.indexOf(needle); at >= 0; ) {
    const start = bytes.lastIndexOf(10, at) + 1
    const end = bytes.indexOf(10, at)
    const event = parseEvent(bytes.toString('utf8', start, end))
    if (event !== undefined) events.push(event)
    at = bytes.indexOf(needle, end)
  }
}

function parseEvent(line: string): LedgerEvent | undefined {
  try {
    const event: unknown = JSON.parse(line)
    const whole = typeof event === 'object' && event !== null && 'id' in event && 'event' in event && 'at' in event
    return whole ? (event as LedgerEvent) : undefined
  } catch {
    return undefined
  }
}
