/** `qmq completion bash|zsh|fish`: the script that makes the shell know the verbs and their options, from the verbs themselves. */

import { completionScript, isShell, shells } from '../completion-script.ts'
import type { Verb } from '../verb.ts'

/** `verbs` is asked when it is run: this verb is one of them. */
export function completionVerb(verbs: () => Promise<readonly Verb[]>): Verb {
  return {
    name: 'completion',
    summary: 'print the completion script of a shell',
    arguments: '<shell>',
    placeless: true,
    run: async (context, input) => {
      const [shell = ''] = input.words
      if (!isShell(shell)) {
        context.complain(`${shell} is not known: ${shells.join(', ')}`)
        return 2
      }
      context.print(completionScript(shell, await verbs()))
      return 0
    },
  }
}
