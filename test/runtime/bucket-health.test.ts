/** When a bucket of NATS is given up, and when it is not. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BucketHealth } from '../../services/runtime/bucket-health.ts'

test('one that ails is given up after its time; a good look in between begins it anew', () => {
  const health = new BucketHealth(30)
  assert.equal(health.looked('headless', 0), true)
  assert.equal(health.looked('headless', 29), true)
  assert.equal(health.looked('well', 30), true)
  assert.equal(health.looked('headless', 40), true)
  assert.equal(health.looked('headless', 69), true)
  assert.equal(health.looked('headless', 70), false)
  assert.equal(health.looked('headless', 71), true, 'what is made anew has its own time')
})

test('while a server is away nothing counts', () => {
  const health = new BucketHealth(30)
  health.looked('headless', 0)
  health.unanswered(0)
  health.unanswered(100)
  assert.equal(health.looked('incomplete', 100), true)
  assert.equal(health.looked('headless', 101), true)
  assert.equal(health.looked('headless', 130), true)
})

test('writes without an answer count from the first to the last, until one is answered', () => {
  const health = new BucketHealth(30)
  health.unanswered(0)
  assert.equal(health.looked('well', 1000), true, 'one alone proves nothing, however long ago')
  health.unanswered(29)
  assert.equal(health.looked('well', 1000), true)
  health.answered()
  health.unanswered(30)
  health.unanswered(59)
  assert.equal(health.looked('well', 59), true)
  health.unanswered(60)
  assert.equal(health.looked('well', 60), false)
})

test('other servers are judged anew', () => {
  const health = new BucketHealth(30)
  health.looked('headless', 0)
  health.unanswered(0)
  health.forget()
  health.unanswered(40)
  assert.equal(health.looked('headless', 40), true)
})
