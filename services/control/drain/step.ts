/**
 * The drain, as a machine over the standings of the leaving instances. Pure: the view in, one action out, with the words for people.
 *
 *   active     cordoned with the plan; active again only where the plan is cancelled
 *   cordoned   until every edge and queue that runs is on the plan's first epoch: no more mail is sent here
 *   draining   until it says that it is empty and every offer was answered
 *   sealed     until it has written its seal and the receipt is made: what left it is what arrived
 *   parked     left with what it has, by force
 *
 * When each leaving instance has its receipt or is parked, and any edge that missed an acknowledgement has had its time to ask for it, all
 * leave in one layout. Every action is a compare-and-set or can be repeated, so that a leader may die at any line.
 */

import { instanceOf, type Layout, type Standing } from '../../contract/layout.ts'
import type { DrainProgress } from '../../contract/operations.ts'
import { successor, withStanding } from '../layout/order.ts'
import { forceParkAfterMs, isLost, laggards, type PlanView } from './plan-view.ts'

export type Action =
  /** Write this layout, if the one in force is still the one that was looked at. */
  | { readonly kind: 'write'; readonly layout: Layout; readonly why: string }
  /** Compare the manifests of this instance and its targets, and make its receipt. */
  | { readonly kind: 'prove'; readonly instance: string; readonly why: string }
  /** Nothing can be done now. One line for each thing that is waited for. */
  | { readonly kind: 'wait'; readonly why: readonly string[] }

/** What one leaving instance needs: an action, or it is `done`. */
type Need = Action | { readonly kind: 'done' }
type Look = (view: PlanView, id: string) => Need

const needs: Readonly<Record<Standing, Look>> = {
  active: cordonAgain,
  cordoned: beginMoving,
  draining: seal,
  sealed: prove,
  parked: () => ({ kind: 'done' }),
}

export function step(view: PlanView): Action {
  const { plan } = view
  if (plan.state === 'cancelling') return endCancelled(view)
  const found = plan.leaving.map((id) => needOf(view, id))
  const action = found.find((need) => need.kind === 'write' || need.kind === 'prove')
  if (action !== undefined) return action
  const waiting = found.flatMap((need) => (need.kind === 'wait' ? need.why : []))
  return waiting.length > 0 ? { kind: 'wait', why: [...new Set(waiting)] } : leave(view)
}

function needOf(view: PlanView, id: string): Need {
  const standing = instanceOf(view.layout, id)?.standing
  if (standing === undefined) return { kind: 'done' }
  const need = needs[standing](view, id)
  const stuck = need.kind === 'wait' && view.plan.force && (view.quietMs.get(id) ?? 0) >= forceParkAfterMs
  return stuck ? move(view, [id], 'parked', `instance ${id} is parked by force: ${need.why.join('; ')}`) : need
}

/** Only a layout from elsewhere can have made it so: no mail may reach what leaves. */
function cordonAgain(view: PlanView, id: string): Need {
  const { layout, plan, fence } = view
  const plans = layout.plans.map((other) => (other.id === plan.id ? { ...plan, cordonEpoch: layout.epoch + 1 } : other))
  const instances = withStanding(layout, [id], 'cordoned')
  return {
    kind: 'write',
    layout: successor(layout, fence, { instances, plans }),
    why: `instance ${id} is cordoned again`,
  }
}

function beginMoving(view: PlanView): Need {
  const late = lateOnes(view)
  if (late.length > 0) return { kind: 'wait', why: late }
  const ids = leavingAt(view, 'cordoned')
  return move(view, ids, 'draining', `${named(ids)} no new mail any more and hand over what is there`)
}

function seal(view: PlanView, id: string): Need {
  const progress = progressOf(view, id)
  if (typeof progress === 'string') return { kind: 'wait', why: [progress] }
  if (!isEmpty(progress)) return { kind: 'wait', why: [movingText(view, id, progress)] }
  const late = lateOnes(view)
  if (late.length > 0) return { kind: 'wait', why: late }
  const ids = leavingAt(view, 'draining').filter((other) => {
    const its = progressOf(view, other)
    return typeof its !== 'string' && isEmpty(its)
  })
  return move(view, ids, 'sealed', `${ids.join(', ')} empty: refuse everything from now on`)
}

function prove(view: PlanView, id: string): Need {
  const progress = progressOf(view, id)
  if (view.receipts.has(id)) {
    // Whatever the receipt says: who still says that it has mail does not leave.
    const hasMail = typeof progress !== 'string' && progress.left + progress.offered > 0
    return hasMail ? { kind: 'wait', why: [sealingText(id, progress)] } : { kind: 'done' }
  }
  if (typeof progress === 'string') return { kind: 'wait', why: [progress] }
  if (progress.phase !== 'sealed') return { kind: 'wait', why: [sealingText(id, progress)] }
  const dispute = view.disputes.get(id)
  if (dispute !== undefined) return { kind: 'wait', why: [`${id} gets no receipt: ${dispute}`] }
  return { kind: 'prove', instance: id, why: `instance ${id} is sealed: its receipt is made` }
}

/** All that leave have their receipt, or are parked. */
function leave(view: PlanView): Action {
  const { layout, plan, fence } = view
  const late = lateOnes(view)
  if (late.length > 0) return { kind: 'wait', why: late }
  const leftMs = unclearUntil(view) - view.now
  if (leftMs > 0) {
    const why = `${Math.ceil(leftMs / 1000)} s for edges that may have missed an acknowledgement of ${plan.leaving.join(', ')}`
    return { kind: 'wait', why: [why] }
  }
  const sealed = leavingAt(view, 'sealed')
  const instances = plan.keep
    ? withStanding(layout, sealed, 'cordoned')
    : layout.instances.filter(({ id }) => !sealed.includes(id))
  const next = successor(layout, fence, { instances, plans: layout.plans.filter(({ id }) => id !== plan.id) })
  const what =
    sealed.length === 0 ? 'nothing left, all is parked' : `${sealed.join(', ')} ${plan.keep ? 'empty' : 'gone'}`
  return { kind: 'write', layout: next, why: `plan ${plan.id} is done: ${what}` }
}

/** The targets answer for what was offered as long as the plan names them. */
function endCancelled(view: PlanView): Action {
  const { layout, plan, fence } = view
  const waiting = plan.leaving.flatMap((id) => unsettled(view, id) ?? [])
  if (waiting.length > 0) return { kind: 'wait', why: waiting }
  const plans = layout.plans.filter(({ id }) => id !== plan.id)
  return { kind: 'write', layout: successor(layout, fence, { plans }), why: `plan ${plan.id} is cancelled` }
}

function unsettled({ layout, states, now }: PlanView, id: string): string | undefined {
  if (instanceOf(layout, id)?.standing === 'parked') return undefined
  const state = states.get(id)
  if (state === undefined || isLost(state, now)) return `${lostText(id)}: what it offered is not settled`
  if (state.epoch < layout.epoch) return `${id} is on epoch ${state.epoch} instead of ${layout.epoch}`
  const { drain } = state
  return drain === undefined || drain.offered === 0
    ? undefined
    : `${id} waits for the answers to ${drain.offered} offers`
}

function move(view: PlanView, ids: readonly string[], standing: Standing, why: string): Action {
  const { layout, fence } = view
  return { kind: 'write', layout: successor(layout, fence, { instances: withStanding(layout, ids, standing) }), why }
}

function leavingAt({ layout, plan }: PlanView, standing: Standing): readonly string[] {
  return plan.leaving.filter((id) => instanceOf(layout, id)?.standing === standing)
}

/** What an instance says of its part in this plan; in words where it says nothing. */
function progressOf({ plan, states, now }: PlanView, id: string): DrainProgress | string {
  const state = states.get(id)
  if (state === undefined || isLost(state, now)) return `${lostText(id)}: its mail is on its disk, bring it back`
  if (state.drain?.plan === plan.id) return state.drain
  return state.phase === 'ready'
    ? `${id} has not begun yet`
    : `${id} is ${state.phase}${state.why === undefined ? '' : `: ${state.why}`}`
}

function isEmpty({ phase, left, offered }: DrainProgress): boolean {
  return (phase === 'empty' || phase === 'sealed') && left === 0 && offered === 0
}

/** Edges ask the same instance again for so long after a reply that did not come. */
function unclearUntil({ layout, plan, receipts }: PlanView): number {
  const unclearMs = Math.max(0, ...layout.edges.map(({ handoff }) => handoff.unclearRetryMs))
  return Math.max(0, ...plan.leaving.flatMap((id) => receipts.get(id) ?? [])) + unclearMs
}

function lateOnes(view: PlanView): readonly string[] {
  const { cordonEpoch } = view.plan
  const byEpoch = Map.groupBy(laggards(view, cordonEpoch), ({ epoch }) => epoch)
  return [...byEpoch].map(([epoch, states]) => {
    const ids = states.map(({ id }) => id).join(', ')
    return `${ids} ${states.length === 1 ? 'is' : 'are'} on epoch ${epoch} instead of ${cordonEpoch}, and may still send mail`
  })
}

function movingText({ plan, states, now }: PlanView, id: string, progress: DrainProgress): string {
  const { phase, left, moved, offered, why } = progress
  const unanswered = offered === 0 ? '' : `, ${offered} without an answer yet`
  const reason = why === undefined ? '' : `; ${why}`
  const gone = plan.targets.filter((target) => isLost(states.get(target), now))
  const without = gone.length === 0 ? '' : `; ${gone.map(lostText).join(', ')}`
  const what = phase === 'quiescing' ? 'waits for its running deliveries' : `has moved ${moved} messages`
  return `${id} ${what}, ${left} left${unanswered}${reason}${without}`
}

function sealingText(id: string, { left, why }: DrainProgress): string {
  const more = left === 0 ? 'looks once more whether it is empty' : `still moves ${left} messages that came late`
  return `${id} ${more}${why === undefined ? '' : `; ${why}`}`
}

function lostText(id: string): string {
  return `${id} does not report`
}

function named(ids: readonly string[]): string {
  return `${ids.join(', ')} ${ids.length === 1 ? 'gets' : 'get'}`
}
