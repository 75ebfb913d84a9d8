/** A child that cannot be started: the system is out of descriptors, or the program is not there. */

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { run } from '../support/child.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const launcher = new URL('../../services/runtime/child-launcher.ts', import.meta.url).href

/** Launches twice, the second time with every descriptor taken, and prints how each of them ended. */
const program = `
  import fs from 'node:fs'
  const { launchChild } = await import(${JSON.stringify(launcher)})
  const launch = (command) => new Promise((resolve) => {
    const spec = { command, log: { append() {} }, line() {}, attach: (channel) => channel.open(() => {}, () => {}) }
    launchChild(spec, resolve)
  })
  console.log(JSON.stringify(await launch([process.execPath, '-e', 'process.exit(7)'])))
  console.log(JSON.stringify(await launch(['/nowhere/at/all'])))
  const taken = []
  try { for (;;) taken.push(fs.openSync('/dev/null')) } catch {}
  const ending = await launch([process.execPath, '-e', '0'])
  for (const descriptor of taken) fs.closeSync(descriptor)
  console.log(JSON.stringify(ending))
`

test('what cannot be started is an ending with its reason, also with every descriptor taken', async (t) => {
  const file = join(temporaryDirectory(t), 'launch.mjs')
  writeFileSync(file, program)
  const limited = 'ulimit -n 60; exec "$0" --disable-warning=ExperimentalWarning "$1"'
  const { code, stdout, stderr } = await run('/bin/sh', ['-c', limited, process.execPath, file])
  assert.equal(code, 0, stderr)
  const [well, missing, exhausted] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.deepEqual(well, { code: 7, signal: null })
  assert.match(missing.error, /ENOENT/)
  assert.match(exhausted.error, /EMFILE/)
})
