import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import { temporary } from '../../services/protocol/failure.ts'
import { boundedDueAt, expired, isLastAttempt, nextAttemptAt, type RetryChannel } from '../../services/queue/retry.ts'

const vectors = JSON.parse(fs.readFileSync(new URL('../golden/vectors/retry.json', import.meta.url), 'utf8')) as {
  readonly local_first_20: readonly number[]
  readonly remote_first_20: readonly number[]
  readonly next_from_elapsed: readonly { channel: RetryChannel; elapsed_at_pass_start: number; next: number }[]
  readonly queuelifetime_604800: Readonly<Record<RetryChannel, { last_attempt_s: number; attempts_total: number }>>
  readonly queuelifetime_86400: Readonly<Record<RetryChannel, { last_attempt_s: number; attempts_total: number }>>
}
const birthAt = 1_700_000_000_000

function attempts(channel: RetryChannel, lifetimeMs: number): number[] {
  const seconds: number[] = []
  for (let at = birthAt; ; at = nextAttemptAt(birthAt, at, channel)) {
    seconds.push((at - birthAt) / 1000)
    if (isLastAttempt(birthAt, at, lifetimeMs, seconds.length - 1)) return seconds
  }
}

test('retry: attempts fall where qmail-send has them', () => {
  assert.deepEqual(attempts('local', 604_800_000).slice(0, 20), vectors.local_first_20)
  assert.deepEqual(attempts('remote', 604_800_000).slice(0, 20), vectors.remote_first_20)
})

test('retry: each next time equals the compiled function', () => {
  for (const vector of vectors.next_from_elapsed) {
    const next = nextAttemptAt(birthAt, birthAt + vector.elapsed_at_pass_start * 1000, vector.channel)
    assert.equal((next - birthAt) / 1000, vector.next, JSON.stringify(vector))
  }
})

test('retry: the last attempt and their number are qmail-send’s', () => {
  for (const [lifetimeMs, expected] of [
    [604_800_000, vectors.queuelifetime_604800],
    [86_400_000, vectors.queuelifetime_86400],
  ] as const) {
    for (const channel of ['local', 'remote'] as const) {
      const seconds = attempts(channel, lifetimeMs)
      assert.equal(seconds.at(-1), expected[channel].last_attempt_s)
      assert.equal(seconds.length, expected[channel].attempts_total)
    }
  }
})

test('retry: a clock set back puts nothing off, and a clock set forward expires nothing that was not tried', () => {
  assert.equal(nextAttemptAt(birthAt, birthAt - 86_400_000, 'remote'), birthAt - 86_400_000 + 400_000)
  assert.equal(boundedDueAt(birthAt + 3_600_000, birthAt, birthAt - 86_400_000), birthAt - 86_400_000 + 400_000)
  assert.equal(boundedDueAt(birthAt + 400_000, birthAt, birthAt + 1000), birthAt + 400_000)
  const week = 604_800_000
  assert.equal(isLastAttempt(birthAt, birthAt + 2 * week, week, 2), false)
  assert.equal(isLastAttempt(birthAt, birthAt + 2 * week, week, 3), true)
  assert.equal(isLastAttempt(birthAt, birthAt + week, week, 40), false)
})

test('retry: expiry keeps the reason', () => {
  const last = expired(temporary('peer', '4.2.2', 'mailbox full', 452))
  assert.equal(last.class, 'permanent')
  assert.match(last.text, /^mailbox full\nI'm not going to try again/)
})
