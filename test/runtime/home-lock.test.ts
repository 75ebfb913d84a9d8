/** One process per home: contenders, kills, zombies, and names that mean somebody else by now. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { it } from 'node:test'
import { homeOwner, lockHome } from '../../services/runtime/home-lock.ts'
import { isAlive, ownIdentity } from '../../services/runtime/process-identity.ts'
import { Child } from '../support/child.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const contender = path.join(import.meta.dirname, 'lock-contender.ts')

it('a held home is refused, a released one given', (t) => {
  const home = temporaryDirectory(t)
  assert.equal(homeOwner(home), undefined)
  const lock = lockHome(home)
  assert.equal(lock.kind, 'held')
  assert.equal(homeOwner(home), process.pid)
  if (lock.kind === 'held') lock.release()
  assert.equal(homeOwner(home), undefined)
  assert.deepEqual(fs.readdirSync(path.join(home, 'lock')), [])
})

it('another process that holds it is named; once killed it holds nothing', async (t) => {
  const home = temporaryDirectory(t)
  const child = new Child(process.execPath, [contender, home, 'hold'])
  await child.until(({ stdout }) => (stdout.includes('held') ? true : undefined))
  assert.deepEqual(lockHome(home), { kind: 'taken', pid: child.pid })
  assert.equal(homeOwner(home), child.pid)
  child.process.kill('SIGKILL')
  await child.finished
  assert.equal(homeOwner(home), undefined)
  const lock = lockHome(home)
  assert.equal(lock.kind, 'held')
  assert.deepEqual(fs.readdirSync(path.join(home, 'lock')), [ownIdentity()])
})

it('a number used again is not the process that had it', () => {
  const [pid, start, boot] = ownIdentity().split('.')
  assert.ok(isAlive(`${pid}.${start}.${boot}`))
  assert.ok(!isAlive(`${pid}.${Number(start) - 1}.${boot}`))
  assert.ok(!isAlive(`${pid}.${start}.00000000`))
  for (const name of ['', 'x', '-1.0.0', '0.0.0', '4194399.1.1']) assert.ok(!isAlive(name), name)
})

it('of many that contend for long, never two hold it', async (t) => {
  const home = temporaryDirectory(t)
  const children = Array.from({ length: 4 }, () => new Child(process.execPath, [contender, home, 'contend']))
  const finished = await Promise.all(children.map((child) => child.finished))
  for (const { code, stderr } of finished) assert.equal(code, 0, stderr)
  const won = finished.map(({ stdout }) => Number(stdout))
  assert.ok(won.reduce((sum, count) => sum + count, 0) > 20, `${won}`)
})
