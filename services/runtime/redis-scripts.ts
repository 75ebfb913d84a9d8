/**
 * The Lua that Redis runs for shared state, what goes in, and how its replies are read.
 *
 * Each script is one atomic step on the keys it is given, by the server's clock. What another program left under a key of ours, of whatever
 * type, counts as nothing and is overwritten. Fractions travel as text, since Lua numbers become whole ones in a reply. The calculations are
 * those of `local-shared-state.ts`. Every Redis command the scripts may call is in `scriptCommands`, from which the ACL is made.
 */

import type { GreylistVerdict, RateVerdict, Reputation, SlotVerdict } from '../contract/shared-state.ts'
import { hintsMax, hintsPerCallMax, type NotedHints } from '../contract/shared-state.ts'

export type ScriptName =
  | 'qmqRate'
  | 'qmqSlot'
  | 'qmqFree'
  | 'qmqGreylist'
  | 'qmqReputation'
  | 'qmqKeep'
  | 'qmqTake'
  | 'qmqNote'
  | 'qmqHints'

/** Content ids in one call: a script holds up the whole server while it runs. */
export const keysPerCallMax = 500

const begin = `
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
end
local function exact(number) return string.format('%.17g', number) end
local function finite(text)
  local number = tonumber(text or '')
  if number and number == number and number < 1e300 and number > -1e300 then return number end
end
local function ours(reply)
  if type(reply) == 'table' and reply.err then
    redis.call('DEL', KEYS[1])
    return false
  end
  return reply
end
`

/** ARGV: events, perMs, cost. Value: `LEVEL AT`. */
const rate = `
local events, per, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local at, level = now(), events
local value = ours(redis.pcall('GET', KEYS[1]))
if value then
  local before, since = string.match(value, '^(%S+) (%S+)$')
  before, since = finite(before), finite(since)
  if before and since then
    level = math.max(0, math.min(events, before + math.max(0, at - since) * events / per))
  end
end
local taken = math.min(cost, events)
if level + 1e-6 < taken then return {0, math.ceil((taken - level) * per / events)} end
local left = math.max(0, level - taken)
local ttl = math.max(1, math.ceil((events - left) * per / events))
redis.call('SET', KEYS[1], exact(left) .. ' ' .. exact(at), 'PX', ttl)
return {1, 0}
`

/** ARGV: holder, ttlMs, slotsMax. Value: holders by the time their slots end. */
const slot = `
local holder, ttl, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local at = now()
ours(redis.pcall('ZREMRANGEBYSCORE', KEYS[1], '-inf', exact(at)))
local used = redis.call('ZCARD', KEYS[1])
local holds = redis.call('ZSCORE', KEYS[1], holder)
if not holds then
  if used >= most then return {0, used} end
  used = used + 1
end
redis.call('ZADD', KEYS[1], exact(at + ttl), holder)
redis.call('PEXPIRE', KEYS[1], ttl)
return {1, used}
`

/** ARGV: holder. */
const free = `
return ours(redis.pcall('ZREM', KEYS[1], ARGV[1])) or 0
`

/** ARGV: delayMs, retryMs, keepMs. Value: `passed`, or the time of the first try. */
const greylist = `
local delay = tonumber(ARGV[1])
local at = now()
local value = ours(redis.pcall('GET', KEYS[1]))
local first = value and finite(value)
if value ~= 'passed' and not (first and first <= at) then
  redis.call('SET', KEYS[1], exact(at), 'PX', ARGV[2])
  return {'first', delay}
end
local wait = 0
if first then wait = math.ceil(first + delay - at) end
if wait > 0 then return {'early', wait} end
redis.call('SET', KEYS[1], 'passed', 'PX', ARGV[3])
return {'passed', 0}
`

/** ARGV: good, bad, halfLifeMs, ttlMs. Value: a hash of both sums and when they were right. */
const reputation = `
local more, worse, half = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local at = now()
local value = ours(redis.pcall('HMGET', KEYS[1], 'good', 'bad', 'at')) or {}
local good, bad, since = finite(value[1]), finite(value[2]), finite(value[3])
if not (good and bad and since) then good, bad, since = 0, 0, at end
local rest = 2 ^ (-math.max(0, at - since) / half)
good, bad = math.max(0, good) * rest + more, math.max(0, bad) * rest + worse
if more > 0 or worse > 0 then
  redis.call('HSET', KEYS[1], 'good', exact(good), 'bad', exact(bad), 'at', exact(at))
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return {exact(good), exact(bad)}
`

/** ARGV: ttlMs. */
const keep = `
for _, key in ipairs(KEYS) do redis.call('SET', key, '1', 'PX', ARGV[1]) end
return 1
`

const take = `
local taken = {}
for index, key in ipairs(KEYS) do taken[index] = redis.call('DEL', key) end
return taken
`

/** `numberOfKeys` absent: it is the first argument. */
/** ARGV: ttlMs, then names. Value: names by the time they were noted, each later than all before, so that a mark stands between two. */
const note = `
local at = now()
ours(redis.pcall('ZREMRANGEBYSCORE', KEYS[1], '-inf', exact(at - ARGV[1])))
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
at = math.max(at, finite(last[2]) or 0)
for index = 2, #ARGV do
  at = at + 0.001
  redis.call('ZADD', KEYS[1], exact(at), ARGV[index])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -${hintsMax + 1})
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
`

/** ARGV: mark. Answers the new mark, then names. */
const hints = `
local found = ours(redis.pcall('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ${hintsPerCallMax})) or {}
local told = {ARGV[1]}
for index = 1, #found, 2 do
  told[#told + 1] = found[index]
  told[1] = found[index + 1]
end
return told
`

export const redisScripts: Readonly<Record<ScriptName, { readonly lua: string; readonly numberOfKeys?: number }>> = {
  qmqRate: { lua: begin + rate, numberOfKeys: 1 },
  qmqSlot: { lua: begin + slot, numberOfKeys: 1 },
  qmqFree: { lua: begin + free, numberOfKeys: 1 },
  qmqGreylist: { lua: begin + greylist, numberOfKeys: 1 },
  qmqReputation: { lua: begin + reputation, numberOfKeys: 1 },
  qmqKeep: { lua: keep },
  qmqTake: { lua: take },
  qmqNote: { lua: begin + note, numberOfKeys: 1 },
  qmqHints: { lua: begin + hints, numberOfKeys: 1 },
}

/** In the order of the ACL: how scripts are called, then what they call. */
export const scriptCommands: readonly string[] = [
  ...['eval', 'evalsha'],
  ...['time', 'get', 'set', 'del', 'pexpire'],
  ...['zremrangebyscore', 'zcard', 'zscore', 'zadd', 'zrem'],
  ...['zremrangebyrank', 'zrangebyscore', 'zrevrange'],
  ...['hmget', 'hset'],
]

/** Readers answer undefined where the reply is none of this script's. */
export function readRate(reply: unknown): RateVerdict | undefined {
  const [allowed, waitMs] = pairOf(reply)
  return isFlag(allowed) && isCount(waitMs) ? { allowed: allowed === 1, waitMs } : undefined
}

export function readSlot(reply: unknown): SlotVerdict | undefined {
  const [taken, inUse] = pairOf(reply)
  return isFlag(taken) && isCount(inUse) ? { taken: taken === 1, inUse } : undefined
}

export function readFreed(reply: unknown): true | undefined {
  return isCount(reply) ? true : undefined
}

export function readGreylist(reply: unknown): GreylistVerdict | undefined {
  const [stage, waitMs] = pairOf(reply)
  const lawful = stage === 'first' || stage === 'early' || stage === 'passed'
  return lawful && isCount(waitMs) ? { stage, waitMs } : undefined
}

export function readReputation(reply: unknown): Reputation | undefined {
  const [good, bad] = pairOf(reply).map(sumOf)
  return good === undefined || bad === undefined ? undefined : { good, bad }
}

export function readKept(reply: unknown): true | undefined {
  return reply === 1 ? true : undefined
}

/** One flag for each key. */
export function readTaken(reply: unknown, keys: number): readonly boolean[] | undefined {
  if (!Array.isArray(reply) || reply.length !== keys || !reply.every(isFlag)) return undefined
  return reply.map((flag) => flag === 1)
}

export function readHints(reply: unknown): NotedHints | undefined {
  if (!Array.isArray(reply) || reply.length > hintsPerCallMax + 1) return undefined
  const [mark, ...names] = reply.map(String)
  const sum = sumOf(mark)
  return sum === undefined ? undefined : { mark: sum, names }
}

function pairOf(reply: unknown): readonly unknown[] {
  return Array.isArray(reply) && reply.length === 2 ? reply : []
}

function isFlag(value: unknown): value is 0 | 1 {
  return value === 0 || value === 1
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function sumOf(value: unknown): number | undefined {
  const sum = typeof value === 'string' && /^[0-9]/.test(value) ? Number(value) : Number.NaN
  return Number.isFinite(sum) ? sum : undefined
}
