/**
 * More instances of a pool, made from one that is there: same host, rights and role, the next numbers kept for the pool, ports counted
 * from the same base. What comes out is what the compiler makes of a conf-qmq with the larger count. Pure.
 */

import { type InstanceSpec, instancesOfPool, type Layout, poolOf } from '../../contract/layout.ts'
import { instanceId } from '../../settings/instance-ids.ts'

/** Numbers kept for the pool that no instance has, in the order they are taken. */
export function freeNumbers(layout: Layout, pool: string): readonly number[] {
  const taken = new Set(layout.instances.map(({ number }) => number))
  return poolOf(layout, pool).ids.filter((number) => !taken.has(number))
}

/** Undefined where the pool has no instance to go by. */
export function instanceLike(layout: Layout, pool: string, number: number): InstanceSpec | undefined {
  const [model] = instancesOfPool(layout, pool)
  if (model === undefined) return undefined
  const id = instanceId(number)
  return {
    ...model,
    id,
    number,
    port: model.port - model.number + number,
    handoverPort: model.handoverPort - model.number + number,
    standing: 'active',
    home: `instances/${id}`,
  }
}

/** The instances with `count` more of the pool, by number; undefined where there is no number or no model for one. */
export function withMore(layout: Layout, pool: string, count: number): readonly InstanceSpec[] | undefined {
  const made = freeNumbers(layout, pool)
    .slice(0, count)
    .flatMap((number) => instanceLike(layout, pool, number) ?? [])
  return made.length === count ? byNumber([...layout.instances, ...made]) : undefined
}

export function byNumber(instances: readonly InstanceSpec[]): readonly InstanceSpec[] {
  return instances.toSorted((one, other) => one.number - other.number)
}
