/**
 * What every order to the cluster has in common: it is a step from one layout to the next, and the answer says which, or in words why
 * there is none. Pure; whoever leads writes the result by compare-and-set. An order given twice changes nothing the second time.
 */

import type { InstanceSpec, Layout, Standing } from '../../contract/layout.ts'

export type Ordered =
  | { readonly kind: 'changed'; readonly layout: Layout }
  /** It is so already, or on its way by `plan`. */
  | { readonly kind: 'unchanged'; readonly why: string; readonly plan: string | undefined }
  /** What it names is not there. */
  | { readonly kind: 'absent'; readonly why: string }
  | { readonly kind: 'refused'; readonly why: string }

/** Who orders, and what the leader knows when it carries the order out. */
export interface OrderFrame {
  /** Of the leader's term; that of the layout where nobody leads. */
  readonly fence: number
  /** Id of the plan, should the order begin one. In the form of a transaction id. */
  readonly plan: string
  /** Unix milliseconds. */
  readonly at: number
  readonly by: string
  readonly reason: string
  /** Park what cannot be moved. */
  readonly force: boolean
  /** Instances that do not report: they take nothing over. */
  readonly lost: ReadonlySet<string>
}

/** The next layout: everything else stays as it is. */
export function successor(layout: Layout, fence: number, change: Partial<Layout>): Layout {
  return { ...layout, ...change, epoch: layout.epoch + 1, fence: Math.max(layout.fence, fence) }
}

export function withStanding(layout: Layout, ids: readonly string[], standing: Standing): readonly InstanceSpec[] {
  return layout.instances.map((instance) => (ids.includes(instance.id) ? { ...instance, standing } : instance))
}

export function changed(layout: Layout): Ordered {
  return { kind: 'changed', layout }
}

export function unchanged(why: string, plan?: string): Ordered {
  return { kind: 'unchanged', why, plan }
}

export function absent(why: string): Ordered {
  return { kind: 'absent', why }
}

export function refused(why: string): Ordered {
  return { kind: 'refused', why }
}
