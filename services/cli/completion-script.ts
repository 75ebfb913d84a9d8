/** Completion scripts, made from the list of verbs. Pure. They complete verbs, verbs below verbs, and options; values are for the user. */

import type { Verb } from './verb.ts'

export const shells = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof shells)[number]

export function isShell(text: string): text is Shell {
  return (shells as readonly string[]).includes(text)
}

const commonOptions = ['--conf', '--state', '--context', '--output', '--help']

/** What may follow a word or two: `''`, `queue`, `queue ls`. */
function followers(verbs: readonly Verb[]): ReadonlyMap<string, readonly string[]> {
  const after = new Map<string, string[]>([['', []]])
  const add = (key: string, word: string): void => {
    const words = after.get(key) ?? []
    if (!words.includes(word)) words.push(word)
    after.set(key, words)
  }
  for (const verb of verbs) {
    const [first = '', second] = verb.name.split(' ')
    add('', first)
    if (second !== undefined) add(first, second)
    for (const option of [...optionsOf(verb), ...commonOptions]) add(verb.name, option)
    if (verb.name === 'completion') for (const shell of shells) add('completion', shell)
  }
  return after
}

function optionsOf({ options = [] }: Verb): readonly string[] {
  return options.flatMap(([flags]) => flags.match(/--[a-z-]+/g) ?? [])
}

export function completionScript(shell: Shell, verbs: readonly Verb[]): string {
  const after = followers(verbs)
  if (shell === 'fish') return fishScript(verbs, after)
  const cases = [...after].map(
    ([key, words]) => `    ${JSON.stringify(key)}) words=${JSON.stringify(words.join(' '))} ;;`,
  )
  return shell === 'bash' ? bashScript(cases) : zshScript(cases)
}

function bashScript(cases: readonly string[]): string {
  return `# bash completion of qmq: eval "$(qmq completion bash)"
_qmq() {
  local word key="" words="" first=""
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) continue ;; esac
    if [ -z "$first" ]; then first="$word"; key="$word"; elif [ "$key" = "$first" ]; then key="$first $word"; fi
  done
  case "$key" in
${cases.join('\n')}
    *) case "$first" in
${cases.map((line) => `  ${line}`).join('\n')}
      esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _qmq qmq`
}

function zshScript(cases: readonly string[]): string {
  return `#compdef qmq
# zsh completion of qmq: eval "$(qmq completion zsh)"
_qmq() {
  local word key="" first="" text
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "$word" in -*) continue ;; esac
    if [[ -z "$first" ]]; then first="$word"; key="$word"; elif [[ "$key" = "$first" ]]; then key="$first $word"; fi
  done
  _qmq_words "$key"
  [[ -z "$text" ]] && _qmq_words "$first"
  compadd -- \${=text}
}
_qmq_words() {
  text=""
  case "$1" in
${cases.map((line) => line.replace('words=', 'text=')).join('\n')}
  esac
}
compdef _qmq qmq`
}

function fishScript(verbs: readonly Verb[], after: ReadonlyMap<string, readonly string[]>): string {
  const quoted = (text: string): string => `'${text.replaceAll("'", "\\'")}'`
  const lines = ['# fish completion of qmq: qmq completion fish | source', 'complete -c qmq -f']
  for (const word of after.get('') ?? []) {
    const own = verbs.find(({ name }) => name === word)
    lines.push(`complete -c qmq -n __fish_use_subcommand -a ${word} -d ${quoted(own?.summary ?? `qmq ${word}`)}`)
  }
  for (const { name, summary, options = [] } of verbs) {
    const [first = '', second] = name.split(' ')
    const seen = `__fish_seen_subcommand_from ${first}`
    const here = second === undefined ? seen : `${seen}; and __fish_seen_subcommand_from ${second}`
    if (second !== undefined) lines.push(`complete -c qmq -n ${quoted(seen)} -a ${second} -d ${quoted(summary)}`)
    for (const [flags, description] of options) {
      const long = /--([a-z-]+)/.exec(flags)?.[1] ?? ''
      const value = flags.includes('<') ? ' -r' : ''
      lines.push(`complete -c qmq -n ${quoted(here)} -l ${long}${value} -d ${quoted(description)}`)
    }
  }
  lines.push(`complete -c qmq -n '__fish_seen_subcommand_from completion' -a ${quoted(shells.join(' '))}`)
  for (const option of commonOptions) lines.push(`complete -c qmq -l ${option.slice(2)}`)
  return lines.join('\n')
}
