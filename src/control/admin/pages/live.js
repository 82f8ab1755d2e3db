// Requests, the stream of events, and the buttons that change something.
'use strict'

const HISTORY = 15 * 60_000
// A sample comes every two seconds.
const SILENCE = 9000
const RETRY = { first: 1000, most: 10_000 }
const LISTS_EVERY = 5000
let token = null
let heard = 0
let leaving = ''

const headers = () => token ? { authorization: `Bearer ${token}` } : {}

// Asks the gateway. Returns the status (0 without an answer) and the JSON of the answer.
const ask = async (path, method = 'GET') => {
  try {
    const response = await fetch(path, { method, headers: headers(), cache: 'no-store' })
    if (response.status === 401) askToken(Boolean(token))
    return [response.status, await response.json().catch(() => null)]
  } catch {
    return [0, { error: 'the gateway does not answer' }]
  }
}

const askToken = (refused) => {
  token = null
  byId('token').hidden = false
  byId('shown').hidden = true
  byId('parts').hidden = true
  byId('refused').textContent = refused ? 'The gateway does not take this token.' : ''
  link('lost', 'waits for the token')
}

const link = (tone, text) => {
  byId('link').className = `link ${tone}`
  if (byId('link').textContent !== text) byId('link').textContent = text
  document.body.classList.toggle('stale', tone === 'lost')
  byId('actions').hidden = tone !== 'live' || !mayChange
}

const events = {
  history: (data) => {
    bounds = data.setup_bounds_seconds
    samples.splice(0, samples.length, ...data.samples)
    showStatus(data.status)
    drawFlow()
    loadLists()
  },
  sample: ({ sample, status }) => {
    samples.push(sample)
    while (samples[0].at < sample.at - HISTORY) samples.shift()
    showStatus(status)
    drawFlow()
  },
  end: ({ successor, phase }) => {
    leaving = successor ? `process ${successor} serves now` : phase === 'stopped' ? 'the gateway has ended' : ''
  }
}

const handle = (text) => {
  const fields = Object.fromEntries(text.split('\n').map((line) => line.match(/^(event|data): ?(.*)$/)?.slice(1)).filter(Boolean))
  if (!fields.event || !events[fields.event]) return
  heard = Date.now()
  link('live', `live, ${clock(heard)}`)
  events[fields.event](JSON.parse(fields.data))
}

// Follows the events until they end. By `fetch`, because `EventSource` can not send a token.
const follow = async () => {
  const stop = new AbortController()
  heard = Date.now()
  const watch = setInterval(() => Date.now() - heard > SILENCE && stop.abort(), 1000)
  try {
    const response = await fetch('/api/events', { headers: headers(), cache: 'no-store', signal: stop.signal })
    if (response.status === 401) { askToken(Boolean(token)); return true }
    if (response.status !== 200) { link('lost', `${(await response.json().catch(() => null))?.error || `the gateway answered ${response.status}`}; retrying`); return false }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
    let rest = ''
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      const parts = (rest + value).split('\n\n')
      rest = parts.pop()
      parts.forEach(handle)
    }
  } catch {
    // told below
  } finally {
    clearInterval(watch)
  }
  const since = samples.length ? `; the numbers are those of ${clock(samples.at(-1).at)}` : ''
  link('lost', `connection lost${leaving ? ` (${leaving})` : ''}, retrying${since}`)
  leaving = ''
  return false
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const tokenGiven = () => new Promise((resolve) => { byId('token').addEventListener('submit', resolve, { once: true }) })
const live = async () => {
  let pause = RETRY.first
  for (;;) {
    const began = Date.now()
    if (await follow()) { await tokenGiven(); pause = RETRY.first; continue }
    if (Date.now() - began > 10_000) pause = RETRY.first
    await wait(pause)
    pause = Math.min(pause * 2, RETRY.most)
  }
}

// The lists cost the gateway more than the events, so a page that is not seen does not ask for them.
const loadLists = async () => {
  const [status, nodes] = await ask('/api/nodes')
  if (status === 200) showNodes(nodes)
  // those that were loaded further stay until the filter changes
  if (!list.beyond) await loadSessions()
}
const repeat = async () => {
  for (;;) {
    await wait(LISTS_EVERY)
    if (!document.hidden && byId('link').classList.contains('live')) await loadLists()
  }
}

// Asks before something ends for clients.
let answerSure
const sure = (title, text, yes) => {
  // a question that is still open when the next one comes is answered no
  answerSure?.(false)
  byId('sure-h').textContent = title
  byId('sure-text').textContent = text
  byId('sure-yes').textContent = yes
  byId('sure').returnValue = 'no'
  byId('sure').showModal()
  return new Promise((resolve) => { answerSure = resolve })
}
byId('sure').addEventListener('close', () => {
  // the event comes late: the next question may be open already
  if (byId('sure').open) return
  answerSure?.(byId('sure').returnValue === 'yes')
  answerSure = undefined
})

const change = async (path, method, done) => {
  const [status, answer] = await ask(path, method)
  const good = status >= 200 && status < 300
  tell(good ? done(answer) : `Not done: ${answer?.error || `the gateway answered ${status}`}. ${(answer?.problems || []).join(' ')}`, good ? 'good' : 'bad')
}

byId('charts').append(...charts.map(({ figure }) => figure))
byId('token').addEventListener('submit', (event) => {
  event.preventDefault()
  token = event.target.elements.token.value.trim()
  event.target.reset()
  event.target.hidden = true
  byId('shown').hidden = false
  byId('parts').hidden = false
})
byId('filter').addEventListener('submit', (event) => { event.preventDefault(); Object.assign(list, { page: 0, open: null, beyond: false }); loadSessions() })
byId('filter').addEventListener('reset', () => setTimeout(() => byId('filter').requestSubmit()))
byId('find').addEventListener('submit', (event) => { event.preventDefault(); tellWhy(event.target.elements.id.value.trim()) })
byId('before').addEventListener('click', () => { list.page -= 1; drawSessions() })
byId('after').addEventListener('click', () => { list.page += 1; drawSessions() })
byId('more').addEventListener('click', () => loadSessions(true))
byId('reload').addEventListener('click', () => change('/api/reload', 'POST', ({ revision }) => `Reloaded: revision ${revision} is in use.`))
byId('undrain').addEventListener('click', () => change('/api/drain', 'DELETE', () => 'The drain was stopped.'))
byId('drain').addEventListener('click', async () => {
  const text = 'It takes no new clients from now on, and asks those that it has to come back. When all have left, or the time for it is over, the process ends.'
  if (await sure('Drain this gateway?', text, 'Drain')) change('/api/drain', 'POST', ({ sessions }) => `It drains: ${count(sessions)} sessions are open.`)
})
document.addEventListener('visibilitychange', () => document.hidden || loadLists())
live()
repeat()
