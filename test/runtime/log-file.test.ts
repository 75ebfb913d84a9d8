/** Logs on disk: appended, rotated by size, a bounded number of them, and never a reason to fail. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { it } from 'node:test'
import { openLog } from '../../services/runtime/log.ts'
import { LogFile } from '../../services/runtime/log-file.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

it('rotates by size, keeps the youngest files, loses no line between them', (t) => {
  const file = path.join(temporaryDirectory(t), '00.log')
  fs.writeFileSync(file, 'from an earlier life\n')
  const log = new LogFile(file, { fileBytesMax: 50, filesMax: 3 })
  for (let number = 10; number < 40; number++) log.append(Buffer.from(`line ${number}\n`))
  log.close()
  assert.deepEqual(fs.readdirSync(path.dirname(file)).sort(), ['00.log', '00.log.1', '00.log.2', '00.log.3'])
  const kept = ['.3', '.2', '.1', ''].map((ending) => fs.readFileSync(file + ending, 'utf8')).join('')
  const numbers = [...kept.matchAll(/line (\d+)/g)].map((match) => Number(match[1]))
  assert.deepEqual(
    numbers,
    Array.from({ length: numbers.length }, (_, index) => 40 - numbers.length + index),
  )
  assert.ok(numbers.length >= 18)
})

it('where the next file cannot be made, the open one goes on', (t) => {
  const file = path.join(temporaryDirectory(t), '00.log')
  fs.mkdirSync(`${file}.1/in-the-way`, { recursive: true })
  const log = new LogFile(file, { fileBytesMax: 20, filesMax: 1 })
  for (let number = 10; number < 20; number++) log.append(Buffer.from(`line ${number}\n`))
  log.close()
  assert.equal(fs.readFileSync(file, 'utf8').split('\n').length - 1, 10)
})

it('a directory that is gone loses lines, not the caller', (t) => {
  const log = new LogFile(path.join(temporaryDirectory(t), 'absent', '00.log'))
  log.append(Buffer.from('nowhere\n'))
  log.close()
})

it('the log of a process is one JSON object per line with its place in it', (t) => {
  const file = path.join(temporaryDirectory(t), 'log')
  const descriptor = fs.openSync(file, 'w')
  const log = openLog({ descriptor, level: 'info', base: { tier: 'queue', instance: '00' } })
  log.debug('unseen')
  log.info('ready', { epoch: 3 })
  log.error('fatal', { why: 'disk\nfull' })
  log.flush()
  // A flush may overtake the line that is being written: the order of the last two lines is not promised.
  const lines = fs.readFileSync(file, 'utf8').trim().split('\n').sort().reverse()
  const entries = lines.map((line) => ({ ...JSON.parse(line), time: 0 }))
  assert.deepEqual(entries, [
    { level: 'info', time: 0, tier: 'queue', instance: '00', epoch: 3, msg: 'ready' },
    { level: 'error', time: 0, tier: 'queue', instance: '00', why: 'disk\nfull', msg: 'fatal' },
  ])
})
