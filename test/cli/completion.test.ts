/** Completion: the bash script is run by bash; every verb is in all three. */

import assert from 'node:assert/strict'
import path from 'node:path'
import { it } from 'node:test'
import { completionScript, shells } from '../../services/cli/completion-script.ts'
import { instanceVerbs } from '../../services/cli/verbs/drain.ts'
import { planVerbs } from '../../services/cli/verbs/plan.ts'
import { scaleVerb } from '../../services/cli/verbs/scale.ts'
import { run } from '../support/child.ts'

const verbs = [scaleVerb, ...instanceVerbs, ...planVerbs]

it('bash completes verbs, verbs below verbs, and options', async () => {
  const script = completionScript('bash', verbs)
  const complete = async (...words: string[]): Promise<string[]> => {
    const array = ['qmq', ...words].map((word) => `'${word}'`).join(' ')
    const program = `${script}\nCOMP_WORDS=(${array}); COMP_CWORD=${words.length}; _qmq; echo "\${COMPREPLY[@]}"`
    const { stdout, stderr, code } = await run('bash', ['-u', '-c', program])
    assert.equal(code, 0, stderr)
    return stdout.trim().split(' ')
  }
  assert.deepEqual(await complete('dr'), ['drain'])
  assert.deepEqual(await complete('plan', ''), ['ls', 'cancel', 'resume'])
  assert.deepEqual(await complete('plan', 'resume', '--f'), ['--force'])
  assert.deepEqual(await complete('scale', 'A=2', '--dr'), ['--dry-run'])
  assert.deepEqual(await complete('-o', 'scale', '--ye'), ['--yes'])
})

it('each script knows every verb and option', () => {
  for (const shell of shells) {
    const script = completionScript(shell, verbs)
    for (const { name, options = [] } of verbs) {
      for (const word of name.split(' ')) assert.ok(script.includes(word), `${shell}: ${word}`)
      for (const [flags] of options) {
        const long = path.basename(/--([a-z-]+)/.exec(flags)?.[1] ?? '')
        assert.ok(script.includes(long), `${shell}: ${flags}`)
      }
    }
  }
})
