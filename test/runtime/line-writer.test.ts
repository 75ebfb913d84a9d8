/** Log lines and their reader: in order, none torn; a reader that is gone or asleep stops nobody. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { LineWriter } from '../../services/runtime/line-writer.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const limits = { backlogBytesMax: 1024 * 1024, flushMsMax: 200 }

function openFile(context: TestContext): { descriptor: number; read: () => string } {
  const path = join(temporaryDirectory(context), 'lines')
  const descriptor = openSync(path, 'w')
  context.after(() => closeSync(descriptor))
  return { descriptor, read: () => readFileSync(path, 'utf8') }
}

test('lines arrive whole and in order', async (context) => {
  const { descriptor, read } = openFile(context)
  const writer = new LineWriter(descriptor, limits)
  const lines = Array.from({ length: 5000 }, (_, index) => `${index} \u00e4\n`)
  for (const [index, line] of lines.entries()) {
    writer.write(line)
    if (index % 1000 === 0) await sleep(1)
  }
  while (read().length < lines.join('').length) await sleep(5)
  assert.equal(read(), lines.join(''))
})

test('past the backlog lines are dropped, whole', async (context) => {
  const { descriptor, read } = openFile(context)
  const writer = new LineWriter(descriptor, { ...limits, backlogBytesMax: 10 })
  for (const line of ['first\n', '12345\n', '6\n']) writer.write(line)
  await sleep(50)
  assert.equal(read(), 'first\n6\n')
})

const program = `
  const { openLog } = await import(${JSON.stringify(new URL('../../services/runtime/log.ts', import.meta.url).href)})
  const log = openLog({ descriptor: 2, level: 'info', base: {} })
  const text = 'x'.repeat(Number(process.argv[1]))
  process.stdin.once('data', () => {
    log.info('last words', { text })
    log.flush()
    process.exit(7)
  })
  process.stdout.write('up')
`

test('last words are read', { timeout: 20_000 }, async (context) => {
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, '100'], { stdio: 'pipe' })
  context.after(() => child.kill('SIGKILL'))
  let heard = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    heard += text
  })
  await once(child.stdout, 'data')
  child.stdin.write('end')
  await once(child, 'close')
  assert.match(heard, /"msg":"last words"\}\n$/)
})

for (const [what, bytes] of [
  ['gone', 10],
  ['asleep', 900_000],
] as const) {
  test(`a process whose log reader is ${what} still ends`, { timeout: 20_000 }, async (context) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program, String(bytes)], { stdio: 'pipe' })
    context.after(() => child.kill('SIGKILL'))
    await once(child.stdout, 'data')
    if (what === 'gone') child.stderr.destroy()
    else child.stderr.pause()
    child.stdin.write('end')
    const [code] = (await once(child, 'exit')) as [number]
    assert.equal(code, 7)
  })
}
