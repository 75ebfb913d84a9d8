/** `qmq completion bash|zsh|fish`: the script that makes the shell know the verbs and their options, from the verbs themselves. */

import { completionScript, isShell, shells } from '../completion-script.ts'
import type { Verb } from '../verb.ts'

/** `verbs` is asked when it is run: this verb is one of them. */
export function completionVerb(verbs: () => readonly Verb[]): Verb {
  return {
    name: 'completion',
    summary: 'print the completion script of a shell',
    arguments: '<shell>',
    placeless: true,
    run: (context, input) => {
      const [shell = ''] = input.words
      if (!isShell(shell)) {
        context.complain(`${shell} is not known: ${shells.join(', ')}`)
        return Promise.resolve(2)
      }
      context.print(completionScript(shell, verbs()))
      return Promise.resolve(0)
    },
  }
}
