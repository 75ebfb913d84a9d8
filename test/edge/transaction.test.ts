import assert from 'node:assert/strict'
import { it } from 'node:test'
import { Transaction } from '../../services/edge/transaction.ts'

it('keeps every byte in order and few pieces', () => {
  const transaction = new Transaction('a@x', false)
  let expected = ''
  for (let count = 0; count < 100_000; count++) {
    const text = count % 1000 === 0 ? 'big'.repeat(2000) : String.fromCharCode(97 + (count % 26))
    expected += text
    transaction.add(Buffer.from(text))
  }
  assert.equal(transaction.bytes, expected.length)
  assert.equal(Buffer.concat([...transaction.chunks]).toString(), expected)
  assert.ok(transaction.chunks.length < 300)
  transaction.add(Buffer.from('end'))
  assert.equal(Buffer.concat([...transaction.chunks]).toString(), `${expected}end`)
  transaction.drop()
  assert.equal(transaction.chunks.length, 0)
})
