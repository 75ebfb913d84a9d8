import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CommittedMemory } from '../../services/edge/committed-memory.ts'

const content = (id: string) => ({ id, hint: `hint of ${id}` })

describe('the memory of what was committed', () => {
  it('forgets by age, by number and on demand', () => {
    const memory = new CommittedMemory({ rememberedContentMax: 2, rememberedContentMs: 100 })
    memory.remember(content('a'), 0)
    memory.remember(content('b'), 10)
    assert.equal(memory.has(content('a'), 99), true)
    assert.equal(memory.has(content('a'), 100), false)
    memory.remember(content('a'), 20)
    memory.remember(content('c'), 30)
    assert.deepEqual(
      [memory.has(content('a'), 40), memory.has(content('b'), 40), memory.has(content('c'), 40)],
      [true, false, true],
    )
    memory.forget(content('a'))
    assert.equal(memory.has(content('a'), 40), false)
    memory.expire(200)
    assert.equal(memory.size, 0)
  })

  it('holds nothing where it may hold nothing', () => {
    const memory = new CommittedMemory({ rememberedContentMax: 0, rememberedContentMs: 100 })
    memory.remember(content('a'), 0)
    assert.equal(memory.size, 0)
  })

  it('knows by a hint that a text need not be hashed', () => {
    const memory = new CommittedMemory({ rememberedContentMax: 2, rememberedContentMs: 100 })
    memory.remember({ id: 'a', hint: 'h' }, 0)
    memory.remember({ id: 'a', hint: 'h' }, 0)
    memory.remember({ id: 'b', hint: 'h' }, 0)
    assert.deepEqual([memory.mayHave('h'), memory.mayHave('g')], [true, false])
    memory.forget({ id: 'a', hint: 'h' })
    assert.equal(memory.mayHave('h'), true)
    memory.remember({ id: 'c', hint: 'g' }, 0)
    memory.remember({ id: 'd', hint: 'g' }, 50)
    assert.deepEqual([memory.mayHave('h'), memory.mayHave('g')], [false, true])
    memory.expire(200)
    assert.deepEqual([memory.mayHave('g'), memory.size], [false, 0])
  })
})
