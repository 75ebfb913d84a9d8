/**
 * The end of NATS that `qmq up` holds, where conf-qmq names servers; and the cluster's signature, where this host has the key.
 *
 * Before anything starts it is asked once, for a bounded time, which layout is in force: one that is newer than ours is taken first. With
 * no answer the cluster starts on the last layout on disk, whatever conf-qmq says by now; that the file is put in force later is
 * said, not done behind the administrator's back.
 */

import { type Coordination, type Json, layoutKey, type WriteResult } from '../contract/coordination.ts'
import type { Layout, NatsSpec } from '../contract/layout.ts'
import type { Trouble } from '../contract/operations.ts'
import { errorText } from '../protocol/failure.ts'
import { type CoordinationLinks, openCoordination } from '../runtime/open-coordination.ts'
import { openSigner, type Signer } from '../runtime/signature.ts'
import { judgeLayout, layoutKeys, signLayout } from '../runtime/signed-layout.ts'
import { writeLayoutFile } from '../runtime/tier-layout.ts'
import type { Conf } from '../settings/conf.ts'
import type { ClusterTree } from './cluster-tree.ts'
import { restartReasons } from './layout-change.ts'
import { LayoutRelay } from './layout-relay.ts'
import { sameJson } from './next-layout.ts'
import { planState, type StatePlan } from './prepare-state.ts'
import type { Context } from './verb.ts'

/** How long a start waits for an answer of NATS, in all. */
const answerMsMax = 1500

export type LayoutSigner = (layout: Layout) => Json

/** Undefined where this host has no key: said once. */
export async function layoutSigner(context: Context): Promise<LayoutSigner | undefined> {
  try {
    const signer: Signer = await openSigner(context.world.disk, context.state)
    return (layout) => signLayout(signer, layout)
  } catch (error) {
    context.complain(`no layout can be changed from here: ${errorText(error)}`)
    return undefined
  }
}

export class ClusterLink {
  readonly #context: Context
  readonly #links: CoordinationLinks
  #relay: LayoutRelay | undefined

  private constructor(context: Context, links: CoordinationLinks) {
    this.#context = context
    this.#links = links
  }

  static async open(context: Context, spec: NatsSpec): Promise<ClusterLink> {
    const { world, state } = context
    let link: ClusterLink | undefined
    const onLink = (trouble: Trouble | undefined) => {
      if (link !== undefined) link.#say(trouble)
    }
    const links = await openCoordination({
      ...{ world, state, spec, onLink },
      ...{ client: 'up', makesBuckets: true, near: undefined },
    })
    link = new ClusterLink(context, links)
    return link
  }

  /** The plan that fits what is in force elsewhere, or what is on disk where nobody says. */
  async meet(plan: StatePlan, conf: Conf): Promise<StatePlan> {
    const { before, layout } = plan
    const { world, state } = this.#context
    const entry = await this.#inTime(
      this.#shared.get(layoutKey).catch(() => null),
      null,
    )
    if (entry === null) {
      if (before === undefined || layout === before || !sameJson(before.coordination, layout.coordination)) return plan
      const say = 'what is new in it is put in force by SIGHUP or the next start, once NATS is there'
      this.#context.complain(
        `${this.#context.confFile} has changed since epoch ${before.epoch}, which is started: ${say}`,
      )
      return { ...plan, layout: before }
    }
    if (entry === undefined) return plan
    const judgement = await this.#judge(entry.value, before ?? { ...layout, epoch: 0, fence: 0 })
    if (judgement.kind !== 'newer') return plan
    await writeLayoutFile(world.disk, state, judgement.layout)
    return await planState(this.#context, conf)
  }

  /** Puts our layout there before the processes start, where that can be done in time; then both are kept alike. */
  async carry(tree: ClusterTree, sign: LayoutSigner | undefined): Promise<void> {
    const { complain } = this.#context
    this.#relay = new LayoutRelay({
      ...{ shared: this.#shared, sign, complain, inForce: () => tree.layout },
      judge: (value) => this.#judge(value, tree.layout),
      follow: (layout) => this.#follow(tree, layout),
    })
    await this.#inTime(this.#relay.settle(), undefined)
    this.#relay.start()
  }

  /** Puts a layout in force that follows ours. */
  async offer(next: Layout): Promise<WriteResult> {
    return (await this.#relay?.offer(next)) ?? { kind: 'unreachable' }
  }

  /** Looks at what is in force there now, and follows it. */
  async settle(): Promise<void> {
    await this.#relay?.settle()
  }

  close(): void {
    this.#relay?.stop()
    this.#links.close()
  }

  get #shared(): Coordination {
    return this.#links.shared
  }

  async #judge(value: Json, inForce: Layout) {
    const { world, state, complain } = this.#context
    return judgeLayout(value, inForce, await layoutKeys(world.disk, state, state, complain))
  }

  async #follow(tree: ClusterTree, layout: Layout): Promise<void> {
    const { world, state, complain } = this.#context
    const reasons = restartReasons(tree.layout, layout)
    if (reasons.length === 0) return await tree.take(layout)
    await writeLayoutFile(world.disk, state, layout)
    complain(`epoch ${layout.epoch} is in force elsewhere; here it needs a start of \`qmq up\`: ${reasons.join('; ')}`)
  }

  #say(trouble: Trouble | undefined): void {
    const gone = `coordination is gone, mail is carried by the layout at hand: ${trouble?.why}`
    this.#context.complain(trouble === undefined ? 'coordination is there again' : gone)
    if (trouble === undefined) this.#relay?.settle().catch(() => {})
  }

  #inTime<Value>(work: Promise<Value>, otherwise: Value): Promise<Value> {
    const late = new Promise<Value>((resolve) => {
      this.#context.world.clock.after(answerMsMax, () => resolve(otherwise))
    })
    return Promise.race([work, late])
  }
}
