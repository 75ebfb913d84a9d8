/** A child knows that it had a parent, and learns that it has lost it, however early that was. */

import assert from 'node:assert/strict'
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const program = `
  // As slow to start as a real tier: the channel is closed before the first line that asks for it.
  await new Promise((resolve) => setTimeout(resolve, 300))
  const { hasParentChannel, parentChannel } = await import(${JSON.stringify(new URL('../../services/runtime/embedded-ipc.ts', import.meta.url).href)})
  process.stdout.write(hasParentChannel() ? 'parent ' : 'alone ')
  if (hasParentChannel()) parentChannel().open(() => {}, () => process.stdout.write('lost'))
`

function programFile(context: TestContext): string {
  const file = join(temporaryDirectory(context), 'child.mjs')
  writeFileSync(file, program)
  return file
}

async function saysOf(child: ReturnType<typeof spawn>): Promise<string> {
  let said = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  // `close` does not come for a child whose channel we closed ourselves.
  await Promise.all([once(child, 'exit'), child.stdout === null ? undefined : once(child.stdout, 'end')])
  return said
}

test('a parent that went away before the child looked was a parent', async (context) => {
  const child = fork(programFile(context), [], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
  child.disconnect()
  assert.equal(await saysOf(child), 'parent lost')
})

test('a process started by hand has none', async (context) => {
  const child = spawn(process.execPath, [programFile(context)], { stdio: ['ignore', 'pipe', 'inherit'] })
  assert.equal(await saysOf(child), 'alone ')
})
