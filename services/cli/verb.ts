/**
 * What a verb of `qmq` is, and what it is given: the world, where the cluster's state is, and how to speak.
 *
 * Verbs never read the environment, end the process or print past `print` and `complain`; they answer an exit code.
 */

import type { World } from '../runtime/world.ts'

/** 0 done, 1 failed, 2 the command or conf-qmq is wrong, 3 the cluster is degraded. */
export type ExitCode = 0 | 1 | 2 | 3

export type OutputForm = 'text' | 'wide' | 'json'

/** What a person looks at. */
export interface Terminal {
  readonly columns: number
  readonly rows: number
  /** As it is, control sequences included. */
  write(text: string): void
  /** One line typed by the person; '' where he gives none. */
  ask(question: string): Promise<string>
}

/** Where the control plane of another host is, and what we show it: files in PEM form. */
export interface RemoteCluster {
  readonly name: string
  readonly host: string
  readonly port: number
  readonly ca: string
  readonly certificate: string
  readonly key: string
}

export interface Context {
  readonly world: World
  /** Absolute path of the state directory. */
  readonly state: string
  /** Path of conf-qmq, as the user would write it. */
  readonly confFile: string
  readonly output: OutputForm
  /** The cluster of a context; absent: the one of the state directory. */
  readonly remote?: RemoteCluster
  /** Where the contexts are kept; absent: nowhere. */
  readonly contextsFile?: string
  /** Who runs the command, by his environment's word. */
  readonly user?: string
  /** Absent: a program reads what is printed. */
  readonly terminal?: Terminal
  /** One line, or several, to standard output. */
  print(text: string): void
  /** To standard error. */
  complain(text: string): void
  sleep(delayMs: number): Promise<void>
}

export interface Input {
  readonly words: readonly string[]
  /** By camel-case name, as commander gives them. */
  readonly options: Readonly<Record<string, unknown>>
}

export interface Verb {
  /** `queue ls`: a verb below a verb. */
  readonly name: string
  readonly summary: string
  /** As commander writes them: `<id>`, `[ids...]`. */
  readonly arguments?: string
  readonly options?: readonly (readonly [flags: string, description: string])[]
  /** Asks nothing of a cluster. */
  readonly placeless?: true
  /** Can speak to the cluster of a context, which has no state directory here. */
  readonly remote?: true
  /** Goes on when nobody reads its output any more. */
  readonly lasting?: true
  readonly run: (context: Context, input: Input) => Promise<ExitCode>
}

export function textOption(input: Input, name: string): string | undefined {
  const value = input.options[name]
  return typeof value === 'string' ? value : undefined
}

/** A whole number from 1 on, `fallback` where it was not given, undefined where it is none. */
export function countOption(input: Input, name: string, fallback: number): number | undefined {
  const text = textOption(input, name)
  if (text === undefined) return fallback
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined
}
