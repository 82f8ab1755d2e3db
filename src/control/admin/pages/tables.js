// The tables about the process, and notices of what needs attention.
'use strict'

const tableOf = (name) => document.querySelector(`[data-table="${name}"]`)

// Fills a table. A column is [title, cell, options]: `cell` makes a cell's content of a row; the first column heads its row.
const fill = (name, caption, columns, rows, none) => {
  const head = columns.map(([title, , { number } = {}]) => element('th', { scope: 'col', class: number && 'number' }, title))
  const cells = (row) => columns.map(([, cell, { number, text } = {}], index) => {
    const content = [cell(row)].flat()
    return index ? element('td', { class: number ? 'number' : text && 'text' }, ...content) : element('th', { scope: 'row' }, ...content)
  })
  const body = rows.length ? rows.map((row) => element('tr', {}, ...cells(row))) : [element('tr', {}, element('td', { class: 'empty', colspan: columns.length }, none))]
  tableOf(name).replaceChildren(element('caption', {}, caption), element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...body))
}
const NUMBER = { number: true }
const TEXT = { text: true }
const said = (tone, ...text) => element('span', { class: tone }, ...text)

const nodeState = ({ last_fault: fault, quarantined_seconds: avoided, learned_seconds: learned, sessions, dials }) => {
  const text = fault && `${fault.text}, ${duration(fault.seconds_ago)} ago`
  if (avoided !== null) return said('bad', `avoided for ${Math.ceil(avoided)} s more${text ? `: ${text}` : ''}`)
  if (fault?.failing) return said('bad', `takes no requests: ${text}`)
  if (text) return said('warn', `serves again; before: ${text}`)
  if (sessions || dials) return said('good', 'serves')
  return said('soft', learned === null ? 'known' : 'named by a stream manager, not used yet')
}
const showNodes = ({ nodes, left_out: left }) => fill('nodes', `Sessions and connections since this process began.${left ? ` ${count(left)} more are not shown.` : ''}`, [
  ['node', (row) => row.node === 'other' ? 'all others' : row.node],
  ['state', nodeState, TEXT],
  ['sessions', (row) => count(row.sessions), NUMBER],
  ['connections', (row) => count(row.dials), NUMBER],
  ['failed', (row) => row.failed ? said('bad', count(row.failed), row.dials ? ` (${percent(row.failed / row.dials)})` : '') : '0', NUMBER],
  ['half answer within', (row) => millis(row.dial_ms.p50), NUMBER],
  ['95 % within', (row) => millis(row.dial_ms.p95), NUMBER]
], nodes, 'No node is known yet: no client has asked for a stream.')

const managerState = ({ up, since_seconds: since }) => up === null ? said('soft', 'not asked yet') : up ? said('good', `answers, for ${duration(since)}`) : said('bad', `does not answer, for ${duration(since)}`)
const fault = ({ last_fault: last }) => last ? `${last.text}, ${duration(last.seconds_ago)} ago` : 'none'

const showStatus = (status) => {
  byId('phase').textContent = PHASES[status.phase] || status.phase
  byId('phase').className = `badge ${status.phase}`
  byId('facts').textContent = `version ${status.version} · process ${status.pid} · up ${duration(status.uptime_seconds)} · listens on ${status.listening.join(', ')}`
  document.title = `${status.phase === 'serving' ? '' : `${status.phase} · `}tidegate · ${location.host}`
  byId('undrain').hidden = status.phase !== 'draining'
  byId('drain').hidden = status.phase !== 'serving'
  byId('reload').disabled = status.phase !== 'serving'
  fill('managers', 'Asked for clients, and once a second while one does not answer.', [
    ['stream manager', (row) => row.url],
    ['state', managerState, TEXT],
    ['answered', (row) => count(row.requests.answered), NUMBER],
    ['failed', (row) => count(sum(Object.entries(row.requests).filter(([name]) => name !== 'answered').map(([, number]) => number))), NUMBER],
    ['last failure', fault, TEXT]
  ], status.managers, 'No stream manager is configured.')
  const { stored, ...answers } = status.answers
  const all = sum(Object.values(answers))
  fill('answers', `Since this process began. ${count(stored)} answers are in memory now; ${percent(hits(answers))} of the questions were answered from it.`, [
    ['answered', ([name]) => ANSWERS[name] || name],
    ['questions', ([, number]) => count(number), NUMBER],
    ['share', ([, number]) => all ? percent(number / all) : '–', NUMBER]
  ], Object.keys(ANSWERS).map((name) => [name, answers[name] || 0]), '')
  fill('workers', 'Workers: threads that serve the clients, one on each core', [
    ['worker', (row) => row.index],
    ['sessions', (row) => count(row.sessions), NUMBER],
    ['connections', (row) => count(row.connections), NUMBER],
    ['late by', (row) => millis(row.loop_lag_seconds * 1000), NUMBER],
    ['held for slow receivers', (row) => size(row.buffers_lent_bytes), NUMBER]
  ], status.workers, '')
  fill('certificates', 'Certificates', [
    ['names', (row) => row.names.join(', ') || 'no name'],
    ['valid until', (row) => row.not_after === null ? '–' : date(row.not_after)],
    ['days left', (row) => row.days_left === null ? said('bad', 'none yet') : said(row.days_left < 7 ? 'bad' : row.days_left < 14 ? 'warn' : 'good', count(row.days_left)), NUMBER],
    ['renewed by', ({ acme }) => !acme ? 'hand' : acme.error ? said('bad', `ACME, ${acme.state}: ${acme.error}`) : `ACME${acme.renew_at ? `, on ${date(acme.renew_at)}` : `, ${acme.state}`}`, TEXT]
  ], status.certificates, 'No certificate is loaded.')
  const { reload } = status
  fill('process', 'Process and configuration', [['what', ([name]) => name], ['now', ([, value]) => value, TEXT]], [
    ['state', PHASES[status.phase] || status.phase],
    ['configuration', `revision ${status.revision}${status.needs_restart.length ? `; needs a restart: ${status.needs_restart.join(', ')}` : ''}`],
    ['last reload', !reload ? 'none' : `${new Date(reload.at * 1000).toLocaleString()}, ${reload.good ? 'done' : `refused: ${reload.error}`}`],
    ['waits by', status.driver],
    ['internal errors', status.panics ? said('bad', count(status.panics)) : '0'],
    ['relayed', `${size(status.bytes)}, ${count(status.frames)} messages`]
  ], '')
  notices(status)
}

const notices = (status) => {
  const bad = []
  const warnings = []
  if (status.phase === 'draining') bad.push(`This gateway drains: it takes no new clients, and asks those of its ${count(status.sessions.active)} open sessions to come back. The process ends when none is left, or when the time for it is over.`)
  if (status.phase === 'starting') warnings.push('This gateway starts. It takes clients in a moment.')
  const gone = status.managers.filter(({ up }) => up === false)
  for (const row of gone) bad.push(`The stream manager ${row.url} has not answered for ${duration(row.since_seconds)}${row.last_fault ? `: ${row.last_fault.text}` : ''}.${gone.length === status.managers.length ? ' New clients find no node, except for streams in memory. Open sessions go on.' : ''}`)
  for (const row of status.certificates) {
    const names = row.names.join(', ') || 'without a name'
    if (row.days_left === null) bad.push(`There is no certificate for ${names} yet${row.acme?.error ? `: ${row.acme.error}` : ''}.`)
    else if (row.days_left < 0) bad.push(`The certificate of ${names} has expired. Clients refuse it.`)
    else if (row.days_left < 14) warnings.push(`The certificate of ${names} expires in ${row.days_left} days.`)
  }
  const { reload } = status
  if (reload && !reload.good) bad.push(`The last reload was refused, so the configuration before it is in use: ${reload.error}. ${reload.problems.join(' ')}`)
  if (status.needs_restart.length) warnings.push(`Changed in the configuration, and in use only after a restart: ${status.needs_restart.join(', ')}.`)
  if (status.panics) bad.push(`${count(status.panics)} sessions were ended by an error of the gateway. Please report it with the log.`)
  const items = [...bad.map((text) => ['bad', text]), ...warnings.map((text) => ['', text])]
  const shown = items.map(([, text]) => text).join('\n')
  if (byId('notices').dataset.text === shown) return
  byId('notices').dataset.text = shown
  byId('notices').replaceChildren(...items.map(([tone, text]) => element('li', { class: tone }, text)))
}
