/**
 * The layout and every control file of the shipped conf-qmq, as files under `test/golden/layout/`. A change shows as a diff there.
 * To accept one: QMQ_REWRITE_GOLDEN=1 node --test test/control/layout/golden.test.ts
 */

import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { controlFiles } from '../../../services/control/layout/control-files.ts'
import { shippedLayout } from '../../support/shipped-layout.ts'

const golden = fileURLToPath(new URL('../../golden/layout', import.meta.url))

function wantedFiles(): Map<string, string> {
  const layout = shippedLayout(1)
  const files = new Map([['layout.json', `${JSON.stringify(layout, null, 2)}\n`]])
  for (const { id, home } of [...layout.edges, ...layout.instances]) {
    for (const [name, text] of controlFiles(layout, id)) files.set(`${home}/${name}`, text)
  }
  return files
}

test('the shipped conf-qmq compiles to the golden files', () => {
  const wanted = wantedFiles()
  if (process.env['QMQ_REWRITE_GOLDEN'] === '1') {
    rmSync(golden, { recursive: true, force: true })
    for (const [name, text] of wanted) {
      mkdirSync(dirname(join(golden, name)), { recursive: true })
      writeFileSync(join(golden, name), text)
    }
  }
  const entries = readdirSync(golden, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const names = entries.map((entry) => join(entry.parentPath, entry.name).slice(golden.length + 1))
  assert.deepEqual(names.toSorted(), [...wanted.keys()].toSorted())
  for (const [name, text] of wanted) assert.equal(readFileSync(join(golden, name), 'utf8'), text, name)
})
