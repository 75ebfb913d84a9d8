/** Time, chance, the environment and the end of the process come from where they may come from, and nowhere else. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type SourceFile, sourcesBelow, withoutCommentsAndStrings } from './source-files.ts'

interface Ban {
  readonly what: string
  readonly pattern: RegExp
  readonly allowed: (path: string) => boolean
}

const inRuntime = (path: string): boolean => path.startsWith('services/runtime/')
const isMain = (path: string): boolean => /\/main\.ts$/.test(path) || path === 'services/cli/qmq.js'

const bans: readonly Ban[] = [
  { what: 'the wall clock', pattern: /\bDate\.now\b|\bnew Date\(\)/, allowed: inRuntime },
  { what: 'the monotonic clock', pattern: /\bperformance\.now\b|\bprocess\.hrtime\b/, allowed: inRuntime },
  { what: 'chance', pattern: /\bMath\.random\b|\brandomBytes\b|\brandomUUID\b|\brandomInt\b/, allowed: inRuntime },
  { what: 'timers', pattern: /\b(?:setTimeout|setInterval|setImmediate)\b/, allowed: inRuntime },
  { what: 'the environment', pattern: /\bprocess\.env\b/, allowed: isMain },
  {
    what: 'the end of the process',
    pattern: /\bprocess\.(?:exit|abort|kill)\b/,
    allowed: (path) => isMain(path) || inRuntime(path),
  },
]

function findBanned(files: readonly SourceFile[]): string[] {
  const found: string[] = []
  for (const file of files) {
    const lines = withoutCommentsAndStrings(file.text).split('\n')
    for (const [index, line] of lines.entries()) {
      const ban = bans.find((candidate) => candidate.pattern.test(line) && !candidate.allowed(file.path))
      if (ban !== undefined) found.push(`${file.path}:${index + 1} uses ${ban.what}`)
    }
  }
  return found
}

test('no module but the runtime reads the clock, sleeps or draws a random number', () => {
  const files = sourcesBelow('services')
  assert.ok(
    files.some((file) => inRuntime(file.path) && /Date\.now/.test(file.text)),
    'the clock itself was not seen',
  )
  assert.deepEqual(findBanned(files), [])
})

test('the check would see a violation', () => {
  const planted = [
    { path: 'services/edge/session.ts', text: 'const now = Date.now()\n' },
    { path: 'services/queue/heap.ts', text: "// Date.now\nconst text = 'Math.random'\nsetTimeout(run, 1)\n" },
    { path: 'services/queue/main.ts', text: 'process.exit(1)\n' },
    { path: 'services/cli/up.ts', text: 'const home = process.env.HOME\n' },
  ]
  assert.deepEqual(findBanned(planted), [
    'services/edge/session.ts:1 uses the wall clock',
    'services/queue/heap.ts:3 uses timers',
    'services/cli/up.ts:1 uses the environment',
  ])
})

test('protocol cores have no asynchronous function', () => {
  const wrong = sourcesBelow('services/protocol').filter((file) =>
    /\basync\b|\bawait\b|\bPromise\b/.test(withoutCommentsAndStrings(file.text)),
  )
  assert.deepEqual(
    wrong.map((file) => file.path),
    [],
  )
})

test('no promise is thrown away with void', () => {
  const files = [...sourcesBelow('services'), ...sourcesBelow('test')]
  const found = files.flatMap((file) =>
    withoutCommentsAndStrings(file.text)
      .split('\n')
      .flatMap((line, index) => (/^\s*void\s|[;{]\s*void\s/.test(line) ? [`${file.path}:${index + 1}`] : [])),
  )
  assert.deepEqual(found, [])
})
