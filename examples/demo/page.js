// The page around a publishing and a playing session: buttons, the drawn picture, steps, figures, the log.
'use strict'

const $ = (selector, root = document) => root.querySelector(selector)
const settings = new URLSearchParams(location.search)
const SOCKET = { open: 'WebSocket open', agreed: 'offer answered', connected: 'media connected' }
const HTTP = { options: 'OPTIONS answered', agreed: 'offer answered', trickled: 'candidates sent', connected: 'media connected' }
const OFFERED = { options: 'OPTIONS answered', offered: 'node offered', agreed: 'answer taken', trickled: 'candidates sent', connected: 'media connected' }
const ASKED = { asked: 'manager asked', named: 'node named' }
const HANDED = { handed: 'hand-off' }
const ENDS = { publish: { live: 'stream live' }, play: { picture: 'first picture' } }

// The protocols: the class that runs each, its title, and its steps.
const PROTOCOLS = {
  'two-step': { kind: TwoSteps, title: 'WebSocket, two steps', steps: (role) => ({ ...ASKED, ...SOCKET, ...ENDS[role], ...HANDED }) },
  'one-step': { kind: OneStep, title: 'WebSocket, one step', steps: (role) => ({ ...SOCKET, ...ENDS[role], ...HANDED }) },
  'http-2': { kind: Http2, title: { publish: 'WHIP, 2.0 path', play: 'WHEP, 2.0 path' }, steps: (role) => ({ ...(role === 'play' ? OFFERED : HTTP), ...ENDS[role] }) },
  'http-1': { kind: Http1, title: { publish: 'WHIP, 1.x path', play: 'WHEP, 1.x path' }, steps: (role) => ({ ...(role === 'play' ? OFFERED : HTTP), ...ENDS[role] }) }
}
const sessions = {}
const started = {}
const opened = performance.now()
let entries = 0
// Called with a role and its session when that failed. The operator's part of the page replaces it.
let lost = () => {}

const side = (role) => $(`[data-side="${role}"]`)
const put = (role, field, text) => { $(`[data-${field}]`, side(role)).textContent = text }
const millis = (from) => `${Math.round(performance.now() - from)} ms`

const chip = (role, text, tone = '') => {
  put(role, 'state', text)
  $('[data-state]', side(role)).dataset.tone = tone
}

const showError = (what, why) => {
  $('#error').hidden = !what
  $('#error strong').textContent = what || ''
  $('#error span').textContent = why || ''
}

const chosen = () => $('[name="protocol"]:checked').value

// Shows the chosen protocol on that side, and its steps as not done.
const resetSteps = (role) => {
  const { title, steps } = PROTOCOLS[chosen()]
  put(role, 'protocol', title[role] || title)
  const items = Object.entries(steps(role)).map(([key, text]) => {
    const item = document.createElement('li')
    item.dataset.step = key
    item.append(Object.assign(document.createElement('b'), { textContent: '–' }), text)
    return item
  })
  $('.steps', side(role)).replaceChildren(...items)
}

const step = (role, key) => {
  const item = $(`[data-step="${key}"]`, side(role))
  if (!item || item.classList.contains('done')) return
  if (key in ENDS[role] && sessions[role]) sessions[role].wasLive = true
  item.classList.add('done')
  $('b', item).textContent = millis(started[role])
  if (key === 'live') { put(role, 'setup', millis(started[role])); chip(role, 'live', 'good') }
  if (key === 'picture') { put(role, 'setup', millis(started[role])); chip(role, 'playing', 'good') }
}

const log = (role, dir, text, whole, tone = '') => {
  const entry = document.createElement('details')
  entry.dataset.tone = tone
  const line = document.createElement('summary')
  const cell = (name, content, tag = 'span') => line.append(Object.assign(document.createElement(tag), { className: name, textContent: content }))
  cell('', `${((performance.now() - opened) / 1000).toFixed(3)} s`, 'time')
  cell('side', role)
  cell('dir', dir)
  cell('text', text)
  entry.append(line)
  // The whole message is formatted only when the entry is opened.
  entry.addEventListener('toggle', () => {
    if (entry.open && !$('pre', entry)) entry.append(Object.assign(document.createElement('pre'), { textContent: readable(whole ?? text) }))
  })
  const list = $('#log')
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40
  list.append(entry)
  if (atEnd) list.scrollTop = list.scrollHeight
  entries += 1
  $('#count').textContent = `${entries} ${entries === 1 ? 'entry' : 'entries'}`
}

const readable = (text) => {
  try { return JSON.stringify(JSON.parse(text), null, 2).replace(/\\r\\n/g, '\n') } catch { return text }
}

const buttons = () => {
  $('#publish').disabled = Boolean(sessions.publish)
  $('#play').disabled = Boolean(sessions.play)
  $('#stop').disabled = !sessions.publish && !sessions.play
}

const show = (role, stream) => {
  const video = $('video', side(role))
  video.srcObject = stream
  $('.screen', side(role)).classList.toggle('lit', Boolean(stream))
  if (stream) video.play().catch(() => {})
}

const reporter = (role) => (kind, ...rest) => ({
  log: () => log(role, ...rest),
  step: () => step(role, rest[0]),
  node: () => put(role, 'node', rest[0]),
  state: () => rest[0] === 'disconnected' && chip(role, 'interrupted', 'bad'),
  stream: () => showStream(rest[0]),
  over: () => over(role, rest[0], rest[1])
}[kind]())

const over = (role, error, why) => {
  const session = sessions[role]
  delete sessions[role]
  chip(role, error ? 'failed' : 'ended', error ? 'bad' : '')
  if (error) {
    $('.steps li:not(.done)', side(role))?.classList.add('failed')
    showError(error.what || 'Error', error.message)
  } else if (why) $('.screen p', side(role)).textContent = why
  if (role === 'publish') Picture.stop()
  show(role, null)
  buttons()
  if (error && session) lost(role, session)
}

const begin = async (role, media) => {
  showError()
  resetSteps(role)
  started[role] = performance.now()
  for (const field of ['node', 'setup', 'media', 'extra']) put(role, field, '–')
  chip(role, 'connecting', 'busy')
  const session = new PROTOCOLS[chosen()].kind(role, $('#name').value, reporter(role), settings.get('direct'))
  sessions[role] = session
  buttons()
  await session.start(media)
}

const publish = async () => {
  if (sessions.publish || !$('#controls').reportValidity()) return
  const camera = $('[name="source"]:checked').value === 'camera'
  let media
  try {
    media = camera
      ? await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 1280, height: 720 } })
      : Picture.start($('#name').value)
  } catch (error) {
    return showError('No camera', `The browser gives access to no camera (${error.name}). Choose the drawn clock instead.`)
  }
  show('publish', media)
  await begin('publish', media).catch(() => {})
}

const play = () => sessions.play || !$('#controls').reportValidity() ? undefined : begin('play').catch(() => {})

const showStream = (stream) => {
  const video = $('video', side('play'))
  if (video.srcObject === stream) return
  const first = () => { step('play', 'picture'); log('play', '·', 'first picture shown', undefined, 'good') }
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(first)
  else video.addEventListener('loadeddata', first, { once: true })
  show('play', stream)
}

const figures = async (role) => {
  const pc = sessions[role]?.pc
  if (!pc || pc.connectionState !== 'connected') return
  const wanted = role === 'publish' ? 'outbound-rtp' : 'inbound-rtp'
  const stats = await pc.getStats()
  for (const report of stats.values()) {
    if (report.type !== wanted || report.kind !== 'video') continue
    const frames = (role === 'publish' ? report.framesEncoded : report.framesDecoded) || 0
    put(role, 'media', `${frames} frames · ${Math.round(report.framesPerSecond || 0)}/s`)
    if (role === 'publish') put(role, 'extra', stats.get(report.codecId)?.mimeType.replace('video/', '') || '–')
    else put(role, 'extra', delay())
  }
}

const delay = () => {
  const age = Picture.age($('video', side('play')))
  return age === undefined ? '–' : `${age} ms`
}

const theme = () => {
  const dark = matchMedia('(prefers-color-scheme: dark)').matches
  const now = document.documentElement.dataset.theme || (dark ? 'dark' : 'light')
  document.documentElement.dataset.theme = now === 'dark' ? 'light' : 'dark'
}

$('#controls').addEventListener('submit', (event) => { event.preventDefault(); publish() })
$('#play').addEventListener('click', play)
$('#stop').addEventListener('click', () => { sessions.play?.stop(); sessions.publish?.stop() })
$('#clear').addEventListener('click', () => { $('#log').replaceChildren(); entries = 0; $('#count').textContent = '0 entries' })
$('#theme').addEventListener('click', theme)
$('#error button').addEventListener('click', () => showError())
addEventListener('pagehide', () => { sessions.play?.leave(); sessions.publish?.leave() })
setInterval(() => { figures('publish'); figures('play') }, 500)
for (const radio of document.querySelectorAll('[name="protocol"]')) {
  radio.checked = radio.value === (settings.get('protocol') || 'two-step')
  // A running session keeps the protocol it was started with.
  radio.addEventListener('change', () => Object.keys(ENDS).forEach((role) => sessions[role] || resetSteps(role)))
}
resetSteps('publish')
resetSteps('play')
const admin = document.body.dataset.admin
if (admin.startsWith('http')) Object.assign($('#admin'), { href: admin, hidden: false })
// A random name, so that two open pages, or a page and its reload, do not use the same one.
$('#name').value = settings.get('name') || `demo-${Math.random().toString(36).slice(2, 6)}`
if (settings.get('auto') === '1') publish().then(() => sessions.publish && play())
