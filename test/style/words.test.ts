/** What the tree must not say, and what the documents promise. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { filesBelow, readRepositoryFile, type SourceFile } from './source-files.ts'

const textual = /\.(?:ts|js|json|md|txt|ya?ml|sh)$|^\.ci\/|^conf-qmq$|^\.npmrc$|^LICENSE$/
const everything = filesBelow('.', (path) => textual.test(path))
const here = 'test/style/words.test.ts'

function linesWith(files: readonly SourceFile[], pattern: RegExp): string[] {
  return files
    .filter((file) => file.path !== here)
    .flatMap((file) =>
      file.text
        .split('\n')
        .flatMap((line, index) => (pattern.test(line) ? [`${file.path}:${index + 1}: ${line.trim()}`] : [])),
    )
}

test('the folders a reader expects are there', () => {
  for (const folder of ['services/', 'test/', 'decisions/', '.ci/']) {
    assert.ok(
      everything.some((file) => file.path.startsWith(folder)),
      folder,
    )
  }
})

test('nothing is left to be done later in a comment', () => {
  assert.deepEqual(linesWith(everything, /\b(?:TODO|FIXME|XXX|HACK)\b/), [])
})

test('no package registry is named', () => {
  assert.deepEqual(linesWith(everything, /registry\.[a-z]|npmjs\.(?:org|com)|artifactory|verdaccio/i), [])
})

test('no test is skipped without a reason, none is left alone on stage', () => {
  const tests = everything.filter((file) => file.path.startsWith('test/'))
  assert.deepEqual(linesWith(tests, /\.(?:only|todo)\(|\bskip: true\b|\b(?:test|it|describe)\.skip\(|\.skip\(\)/), [])
})

test('every npm command a document names exists', () => {
  const { scripts } = JSON.parse(readRepositoryFile('package.json')) as { scripts: Record<string, string> }
  const documents = everything.filter((file) => file.path.endsWith('.md') || file.path.startsWith('.ci/'))
  let named = 0
  for (const file of documents) {
    for (const match of file.text.matchAll(/(?:^|[`(]|&& )npm (?:run )?([a-z][a-z-]*)/gm)) {
      const command = match[1] ?? ''
      if (['ci', 'install'].includes(command)) continue
      named++
      assert.ok(command in scripts, `${file.path} names npm ${command}, which package.json does not have`)
    }
  }
  assert.ok(named >= 4, `only ${named} commands seen`)
})

test('the changelog begins with the version of the package', () => {
  const { version } = JSON.parse(readRepositoryFile('package.json')) as { version: string }
  const heading = /^## (\S+)/m.exec(readRepositoryFile('CHANGELOG.md'))?.[1]
  assert.equal(heading, version)
})

test('ARCHITECTURE stays short enough to be kept true, and maps every folder', () => {
  const text = readRepositoryFile('ARCHITECTURE.md')
  assert.ok(text.split('\n').length <= 300)
  const folders = new Set(everything.flatMap((file) => /^services\/([a-z]+)\//.exec(file.path)?.[1] ?? []))
  assert.ok(folders.size >= 8)
  for (const folder of folders)
    assert.ok(text.includes(`services/${folder}/`), `ARCHITECTURE.md has no line for ${folder}/`)
})
