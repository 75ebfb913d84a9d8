/** Whether an instance serves a source that says hello: only what the layout it has itself says of both. Pure. */

import { type HandoverHello, handoverVersion } from '../../contract/handover.ts'
import { instanceOf, type Layout } from '../../contract/layout.ts'

/** In words why not; undefined: it is served. */
export function refuseHello(layout: Layout, instance: string, hello: HandoverHello): string | undefined {
  const { version, cluster, plan, source, target, epoch } = hello
  if (version !== handoverVersion) return `the hand-over has version ${version}, this instance has ${handoverVersion}`
  if (cluster !== layout.cluster) return `this instance belongs to another cluster than ${cluster}`
  if (target !== instance) return `this is instance ${instance}, not ${target}`
  if (instanceOf(layout, source) === undefined) return `the layout has no instance ${source}`
  const known = layout.plans.find(({ id }) => id === plan)
  // The source may be ahead of us, or behind: it asks again.
  if (known === undefined) return `layout ${layout.epoch} has no plan ${plan}; the source has layout ${epoch}`
  if (!known.leaving.includes(source)) return `instance ${source} does not leave by plan ${plan}`
  if (!known.targets.includes(instance)) return `plan ${plan} does not hand over to instance ${instance}`
  return undefined
}
