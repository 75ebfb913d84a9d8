/** Small files, small functions, an opening comment on each file: the ratchet. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { functionsOf } from './functions.ts'
import { sourcesBelow } from './source-files.ts'

const fileLinesMax = 500
const functionLinesMax = 70

/** `file` or `file:function`, each with its reason. These lists may only shrink. */
const longFiles = new Map<string, string>()
const longFunctions = new Map<string, string>()

const services = sourcesBelow('services')
const tests = sourcesBelow('test')
const all = [...services, ...tests]

test('no file is longer than it may be', () => {
  const long = all.filter((file) => file.text.split('\n').length - 1 > fileLinesMax).map((file) => file.path)
  assert.deepEqual(long, [...longFiles.keys()])
})

test('no function is longer than it may be', () => {
  let seen = 0
  const long: string[] = []
  for (const file of all) {
    for (const one of functionsOf(file.text)) {
      seen++
      if (one.lines > functionLinesMax) long.push(`${file.path}:${one.name}`)
    }
  }
  assert.ok(seen > all.length, `only ${seen} functions seen in ${all.length} files`)
  assert.deepEqual(long, [...longFunctions.keys()])
})

test('functions are measured from first to last line', () => {
  const body = '    work()\n'.repeat(3)
  const text = `class A {\n  #one(\n    a: number,\n  ): void {\n${body}  }\n\n  static async two<T>(a: T): Promise<T> {\n${body}  }\n}\nfunction three({\n  a,\n}: B): void {\n  if (a) {\n    work()\n  }\n}\nconst four = (): void => {\n  work()\n}\n`
  assert.deepEqual(
    functionsOf(text).map((one) => [one.name, one.lines]),
    [
      ['#one', 7],
      ['two', 5],
      ['three', 7],
      ['four', 3],
    ],
  )
})

test('every file of services opens by saying what it is', () => {
  const silent = services.filter((file) => {
    const opening = /^(?:#![^\n]*\n)?\/\*\*?([\s\S]*?)\*\//.exec(file.text)?.[1] ?? ''
    return opening.trim().length < 40
  })
  assert.deepEqual(
    silent.map((file) => file.path),
    [],
  )
})

test('every program and helper of test opens by saying what it is', () => {
  const programs = tests.filter((file) => !file.path.endsWith('.test.ts'))
  const silent = programs.filter((file) => !/^\/\*\*?[\s\S]{20,}?\*\//.test(file.text)).map((file) => file.path)
  assert.deepEqual(silent, [])
})

/** `shared-state` is a thing of its own, and a key of conf-qmq. */
test('no folder or file is named after nothing', () => {
  const nothing = /(^|\/)(utils?|helpers?|common|misc|shared(?!-state))(\/|\.|-)/
  const nameless = all.filter((file) => nothing.test(file.path))
  assert.deepEqual(
    nameless.map((file) => file.path),
    [],
  )
  const notKebab = all.filter((file) => !/^[a-z0-9./-]+$/.test(file.path)).map((file) => file.path)
  assert.deepEqual(notKebab, [])
})
