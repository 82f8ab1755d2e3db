// What an operator does, as buttons: kill a node, kick a session, drain the gateway, and ask what happened in a session. Sessions
// that lose their node begin again by themselves, as those of an app do.
'use strict'

const { buttons: BUTTONS, token: TOKEN } = document.body.dataset
const LOOK_EVERY = 1000
// A picture that stands still for so long has lost its node: UDP does not tell.
const STILL_MAX = 3000
const INTERRUPTED_MAX = 1000
const AGAIN_MAX = 12
const ROLES = { publish: 'publisher', play: 'subscriber' }
const shownId = {}
const still = {}
const again = { publish: 0, play: 0 }

// Asks the demo's operator. Returns [status, JSON]; the status is 0 without an answer.
const operate = async (path, method = 'GET') => {
  try {
    const response = await fetch(BUTTONS + path, { method, cache: 'no-store', headers: { authorization: `Bearer ${TOKEN}` } })
    return [response.status, await response.json().catch(() => ({}))]
  } catch {
    return [0, { error: 'the demo does not answer' }]
  }
}

const make = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children)
  return made
}

// Shows the newest session of each side, by role and stream: open, or ended after the hand-off to the data channel.
const findSessions = async () => {
  const name = encodeURIComponent($('#name').value)
  const [[, open], [, ended]] = await Promise.all([operate(`api/sessions?stream=${name}&limit=20`), operate(`api/ends?stream=${name}&limit=20`)])
  for (const [role, word] of Object.entries(ROLES)) {
    const is = (row) => row.role === word && row.route !== 'event' && row.route !== 'streams'
    const newest = (open.sessions || []).filter(is).sort((a, b) => a.age_seconds - b.age_seconds)[0]
    const row = newest || (ended.sessions || []).filter(is).find(({ status }) => status === 101 || status === 201)
    const box = $('[data-session]', side(role))
    box.hidden = !row
    if (!row) continue
    if (shownId[role] !== row.id) closeStory(role)
    shownId[role] = row.id
    $('[data-id]', box).textContent = row.id
    $('[data-kick]', box).disabled = !newest
    $('[data-kick]', box).title = newest ? '' : 'It has left the gateway: its WebSocket ended with the hand-off, and its media never passes here.'
    box.dataset.node = (row.node || '').replace(/:\d+$/, '')
    if (row.node) put(role, 'node', box.dataset.node)
    $('[data-kill]', box).disabled = !box.dataset.node || !sessions[role]
  }
}

const showNodes = async () => {
  const [status, { nodes = [] }] = await operate('nodes')
  if (status !== 200) return
  const text = JSON.stringify(nodes)
  $('#nodes').hidden = false
  if ($('#nodes').dataset.shown === text) return
  $('#nodes').dataset.shown = text
  $('#nodes ul').replaceChildren(...nodes.map(({ node, up }) => {
    const state = make('span', { className: 'chip', textContent: up ? 'runs' : 'killed' })
    state.dataset.tone = up ? 'good' : 'bad'
    const button = make('button', { type: 'button', className: 'quiet', textContent: up ? 'Kill this node' : 'Start it again', onclick: () => changeNode(node, up ? 'down' : 'up') })
    button.setAttribute('aria-label', `${button.textContent}: ${node}`)
    const item = make('li', {}, make('code', { textContent: node }), state, button)
    item.dataset.node = node
    return item
  }))
}

const showPhase = async () => {
  const [status, { phase }] = await operate('api/status')
  $('#drain').hidden = status !== 200
  $('#drain').textContent = phase === 'draining' ? 'Stop the drain' : 'Drain the gateway'
  $('#phase').hidden = phase === 'serving' && status === 200
  $('#phase').textContent = status === 200 ? phase : 'the gateway has ended'
  $('#phase').dataset.tone = 'bad'
}

const changeNode = async (node, state) => {
  log('', '·', state === 'down' ? `node ${node} is killed` : `node ${node} is started again`)
  await operate(`nodes/${node}/${state}`, 'POST')
  await showNodes()
}

const closeStory = (role) => {
  $('[data-story]', side(role)).hidden = true
  $('[data-why]', side(role)).setAttribute('aria-expanded', 'false')
}

const tellStory = async (role) => {
  const story = $('[data-story]', side(role))
  if (!story.hidden) return closeStory(role)
  const [status, told] = await operate(`api/sessions/${shownId[role]}`)
  const events = (told.events || []).map(({ at_seconds: at, text }) => make('li', {}, make('time', { textContent: `${at.toFixed(3)} s` }), make('span', { textContent: text })))
  story.replaceChildren(make('p', { textContent: status === 200 ? told.verdict : told.error }), make('ol', {}, ...events))
  story.hidden = false
  $('[data-why]', side(role)).setAttribute('aria-expanded', 'true')
}

const kick = async (role) => {
  const session = sessions[role]
  if (session) session.isKicked = true
  const [status, { error }] = await operate(`api/sessions/${shownId[role]}`, 'DELETE')
  log(role, '·', status === 200 ? `session ${shownId[role]} is kicked` : `not kicked: ${error}`, undefined, status === 200 ? '' : 'bad')
  if (status === 200) session?.fail(new SessionError('Kicked', 'The operator ended this session.'))
}

const drain = async () => {
  const isDraining = $('#drain').textContent === 'Stop the drain'
  if (!isDraining && !confirm('The gateway takes no new clients then, and ends with this demo when all sessions have left. Drain it?')) return
  const [status, { error }] = await operate('api/drain', isDraining ? 'DELETE' : 'POST')
  log('', '·', status >= 200 && status < 300 ? (isDraining ? 'the drain is stopped' : 'the gateway drains') : `no drain: ${error}`)
  await showPhase()
}

// Fails a session whose picture stands still.
const watchPicture = (role) => {
  const session = sessions[role]
  const state = $('[data-state]', side(role)).textContent
  const isInterrupted = state === 'interrupted'
  // the browser goes on to encode what no node receives
  const shown = isInterrupted ? state : $('[data-media]', side(role)).textContent
  const isLive = session && /live|playing|interrupted/.test(state)
  const before = still[role]
  if (!isLive || before?.shown !== shown || before.session !== session || document.hidden) { still[role] = { shown, session, since: performance.now() }; return }
  if (performance.now() - before.since > (isInterrupted ? INTERRUPTED_MAX : STILL_MAX)) session.fail(new SessionError('Node lost', 'No picture moves any more.'))
}

// Begins a side again that was live and was lost. The player waits until there is a publisher again.
const beginAgain = async (role) => {
  const begins = { publish, play }
  for (again[role] = 1; again[role] <= AGAIN_MAX && $('#again').checked && !sessions[role]; again[role] += 1) {
    chip(role, 'begins again', 'busy')
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY))
    if (role === 'play' && !/live/.test($('[data-state]', side('publish')).textContent)) continue
    log(role, '·', `begins again, attempt ${again[role]}`)
    await begins[role]()
  }
}

if (BUTTONS.startsWith('http')) {
  lost = (role, session) => { if (!session.isKicked && session.wasLive) beginAgain(role) }
  for (const role of Object.keys(ROLES)) {
    const box = $('[data-session]', side(role))
    $('[data-why]', box).addEventListener('click', () => tellStory(role))
    $('[data-kick]', box).addEventListener('click', () => kick(role))
    $('[data-kill]', box).addEventListener('click', () => changeNode(box.dataset.node, 'down'))
  }
  $('#drain').addEventListener('click', drain)
  const look = async () => {
    Object.keys(ROLES).forEach(watchPicture)
    if (!document.hidden) await Promise.all([findSessions(), showNodes(), showPhase()])
    setTimeout(look, LOOK_EVERY)
  }
  look()
}
