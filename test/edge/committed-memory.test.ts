import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CommittedMemory } from '../../services/edge/committed-memory.ts'

describe('the memory of what was committed', () => {
  it('forgets by age, by number and on demand', () => {
    const memory = new CommittedMemory({ rememberedContentMax: 2, rememberedContentMs: 100 })
    memory.remember('a', 0)
    memory.remember('b', 10)
    assert.equal(memory.has('a', 99), true)
    assert.equal(memory.has('a', 100), false)
    memory.remember('a', 20)
    memory.remember('c', 30)
    assert.deepEqual([memory.has('a', 40), memory.has('b', 40), memory.has('c', 40)], [true, false, true])
    memory.forget('a')
    assert.equal(memory.has('a', 40), false)
    memory.expire(200)
    assert.equal(memory.size, 0)
  })

  it('holds nothing where it may hold nothing', () => {
    const memory = new CommittedMemory({ rememberedContentMax: 0, rememberedContentMs: 100 })
    memory.remember('a', 0)
    assert.equal(memory.size, 0)
  })
})
