// The sessions: filter, sort, pages, what happened in one, its end.
'use strict'

const PAGE = 50
const LISTED = 1000
const mayChange = document.body.dataset.access !== 'read'
const list = { rows: [], next: null, active: 0, page: 0, sort: 'age', descending: true, open: null, filter: '' }

const filtered = () => {
  const query = new URLSearchParams([...new FormData(byId('filter'))].filter(([, value]) => value.trim()).map(([name, value]) => [name, value.trim()]))
  return String(query)
}
const stream = (row) => row.app ? `${row.app}/${row.stream}` : '–'
const traffic = (row) => row.bytes.client + row.bytes.node
// The columns: key, title, cell, value to sort by, options.
const COLUMNS = [
  ['id', 'session', (row) => copyable(row.id), (row) => row.id],
  ['stream', 'stream', stream, stream],
  ['role', 'role', (row) => row.role || '–', (row) => row.role || ''],
  ['kind', 'kind', (row) => KINDS[row.route] || row.route, (row) => row.route],
  ['client', 'client', (row) => row.client, (row) => row.client],
  ['node', 'node', (row) => row.node || '–', (row) => row.node || ''],
  ['state', 'state', (row) => row.state, (row) => row.state],
  ['age', 'age', (row) => duration(row.age_seconds), (row) => row.age_seconds, NUMBER],
  ['idle', 'idle', (row) => duration(row.idle_seconds), (row) => row.idle_seconds, NUMBER],
  ['answer', 'set up in', (row) => millis(row.answer_ms), (row) => row.answer_ms ?? -1, NUMBER],
  ['traffic', 'client / node sent', (row) => `${size(row.bytes.client)} / ${size(row.bytes.node)}`, traffic, NUMBER]
]

const copyable = (id) => element('button', {
  type: 'button', class: 'id', title: 'Copy', 'aria-label': `Copy the session id ${id}`,
  click: async () => {
    // without TLS, browsers may have no clipboard: then the id is selected
    const copied = await navigator.clipboard?.writeText(id).then(() => true, () => false)
    tell(copied ? `Copied ${id}.` : `The session id is ${id}.`)
  }
}, id)

let clearing
const tell = (text, tone = '') => {
  clearTimeout(clearing)
  if (text) clearing = setTimeout(tell, 20_000, '')
  byId('done').textContent = text
  byId('done').className = tone
}

const sorted = () => {
  const [, , , value] = COLUMNS.find(([key]) => key === list.sort)
  const order = list.descending ? -1 : 1
  return list.rows.toSorted((a, b) => {
    const [one, other] = [value(a), value(b)]
    return order * (typeof one === 'string' ? one.localeCompare(other, 'en', { numeric: true }) : one - other) || a.id.localeCompare(b.id)
  })
}

const sortBy = (key) => {
  list.descending = list.sort === key ? !list.descending : ['age', 'idle', 'answer', 'traffic'].includes(key)
  list.sort = key
  list.page = 0
  drawSessions()
  document.querySelector(`[data-sort="${key}"]`).focus()
}

const drawSessions = () => {
  const pages = Math.max(1, Math.ceil(list.rows.length / PAGE))
  list.page = Math.min(list.page, pages - 1)
  const rows = sorted().slice(list.page * PAGE, (list.page + 1) * PAGE)
  const table = tableOf('sessions')
  // the focus stays where it is while the rows change under it
  const focus = document.activeElement?.closest('table') === table ? document.activeElement.dataset.focus : null
  const head = COLUMNS.map(([key, title, , , { number } = {}]) => element('th', {
    scope: 'col', class: number && 'number', 'aria-sort': list.sort === key && (list.descending ? 'descending' : 'ascending')
  }, element('button', { type: 'button', 'data-sort': key, 'data-focus': `sort ${key}`, click: () => sortBy(key) }, title)))
  head.splice(1, 0, element('th', { scope: 'col' }, 'ask'))
  const body = rows.flatMap((row) => list.open === row.id ? [sessionRow(row), list.story] : [sessionRow(row)])
  if (!rows.length) body.push(element('tr', {}, element('td', { class: 'empty', colspan: COLUMNS.length + 1 }, list.filter ? 'No open session matches the filter.' : 'No session is open.')))
  table.replaceChildren(
    element('caption', {}, 'Open sessions. Click a heading to sort, an id to copy it.'),
    element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...body))
  if (focus) table.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true })
  byId('where').textContent = list.rows.length ? `${count(list.page * PAGE + 1)} to ${count(list.page * PAGE + rows.length)} of ${count(list.rows.length)}` : ''
  byId('before').disabled = list.page === 0
  byId('after').disabled = list.page >= pages - 1
  byId('more').hidden = !list.next
  byId('paging').hidden = list.rows.length <= PAGE && !list.next
  byId('listed').textContent = list.next ? `the first ${count(list.rows.length)}${list.filter ? ' that match' : ''}; filter, or load more` : list.filter ? `${count(list.rows.length)} match` : `${count(list.rows.length)} open`
}

const sessionRow = (row) => {
  const cells = COLUMNS.map(([key, , cell, , { number } = {}], index) => {
    const made = element(index ? 'td' : 'th', { scope: !index && 'row', class: number && 'number' }, cell(row))
    made.querySelector('button')?.setAttribute('data-focus', `${key} ${row.id}`)
    return made
  })
  const buttons = [element('button', {
    type: 'button', class: 'quiet small', 'data-focus': `why ${row.id}`, 'aria-expanded': String(list.open === row.id), 'aria-label': `Why: what happened in session ${row.id}`, click: () => toggleStory(row.id)
  }, 'Why')]
  if (mayChange && row.state !== 'closing') buttons.push(' ', element('button', { type: 'button', class: 'danger small', 'data-focus': `kick ${row.id}`, 'aria-label': `Kick session ${row.id}`, click: () => kick(row) }, 'Kick'))
  cells.splice(1, 0, element('td', {}, ...buttons))
  return element('tr', { 'data-id': row.id }, ...cells)
}

// What happened in a session: its verdict and its events.
const story = (told) => [
  element('p', { class: 'verdict' }, told.verdict),
  element('ol', { class: 'events' }, ...told.events.map(({ at_seconds: at, text }) => element('li', {}, element('time', {}, `${at.toFixed(3)} s`), element('span', {}, text)))),
  told.missing_events ? element('p', { class: 'soft' }, `${count(told.missing_events)} events in between were not kept.`) : null
].filter(Boolean)

const explain = async (id) => {
  const [status, told] = await ask(`/api/sessions/${encodeURIComponent(id)}`)
  return status === 200 ? story(told) : [element('p', { class: 'bad' }, told?.error || `The gateway answered ${status}.`)]
}

const toggleStory = async (id) => {
  if (list.open === id) { list.open = null; return drawSessions() }
  const box = element('div', { class: 'why-box', role: 'region', 'aria-label': `What happened in session ${id}`, 'aria-live': 'polite' }, 'asking…')
  list.open = id
  list.story = element('tr', { class: 'why' }, element('td', { colspan: COLUMNS.length + 1 }, box))
  drawSessions()
  box.replaceChildren(...await explain(id))
}

const tellWhy = async (id) => {
  const told = byId('told')
  const head = element('div', { class: 'told-head' }, element('strong', {}, 'Session'), copyable(id), element('button', { type: 'button', class: 'quiet small', click: () => { told.hidden = true } }, 'Close'))
  told.hidden = false
  told.replaceChildren(head, 'asking…')
  told.replaceChildren(head, ...await explain(id))
}

const kick = async (row) => {
  if (!await sure(`Kick session ${row.id}?`, `It is ended at once${row.app ? `: ${row.role || 'client'} of ${stream(row)}, from ${row.client}` : ''}. The client may come back.`, 'Kick')) return
  const [status, answer] = await ask(`/api/sessions/${row.id}`, 'DELETE')
  tell(status === 200 ? `Session ${row.id} was kicked.` : `Session ${row.id} was not kicked: ${answer?.error || status}`, status === 200 ? 'good' : 'bad')
  await loadSessions()
}

const showEnded = (rows) => fill('ended', 'The latest first', [
  ['session', (row) => copyable(row.id)],
  ['ended', (row) => clock(row.ended * 1000)],
  ['why', (row) => [row.verdict, ' ', element('button', { type: 'button', class: 'quiet small', 'aria-label': `More: what happened in session ${row.id}`, click: () => { tellWhy(row.id); byId('told').scrollIntoView({ block: 'center' }) } }, 'More')], TEXT],
  ['stream', stream],
  ['kind', (row) => `${KINDS[row.route] || row.route || '–'}${row.role ? `, ${row.role}` : ''}`],
  ['client', (row) => row.client || '–'],
  ['node', (row) => row.node || '–'],
  ['lasted', (row) => duration(row.seconds), NUMBER]
], rows, list.filter ? 'No ended session matches the filter.' : 'No session has ended yet.')

// Asks for the lists. `further`: adds the next thousand to those that are there.
const loadSessions = async (further = false) => {
  const filter = filtered()
  const after = further && list.next ? `&after=${list.next}` : ''
  const [status, page] = await ask(`/api/sessions?limit=${LISTED}${after}${filter && `&${filter}`}`)
  byId('unlisted').textContent = status === 200 ? '' : page?.error || `The gateway answered ${status}.`
  if (status !== 200) {
    for (const name of ['sessions', 'ended']) tableOf(name).replaceChildren()
    byId('paging').hidden = true
    byId('listed').textContent = ''
    return
  }
  const rows = after ? [...list.rows, ...page.sessions] : page.sessions
  Object.assign(list, { rows, next: page.next, active: page.active, filter, beyond: Boolean(after) || (list.beyond && list.filter === filter) })
  drawSessions()
  const [ends, ended] = await ask(`/api/ends?limit=20${filter && `&${filter}`}`)
  if (ends === 200 && document.activeElement?.closest('[data-table="ended"]') === null) showEnded(ended.sessions)
}
