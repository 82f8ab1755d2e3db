// Opens the demo page like a user and checks that a picture arrives, with all protocols of the page.
//
//   node demo.mjs [--shots DIRECTORY] [--drain] https://localhost:8443       --drain: the gateway ends with it
//   node demo.mjs --direct NODES_PORT http://localhost:MANAGER_PORT   two steps only, sandbox nodes without a gateway
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { anyFailed, assert, check, finish, launch, until, watch } from './harness.mjs'

const { values: flags, positionals: [base] } = parseArgs({
  allowPositionals: true,
  options: { direct: { type: 'string' }, shots: { type: 'string' }, drain: { type: 'boolean' } }
})
if (!base || !/^https?:\/\//.test(base)) {
  console.error('usage: node demo.mjs [--direct NODES_PORT] [--drain] [--shots DIRECTORY] BASE_URL')
  process.exit(64)
}

const context = await launch()
const page = await context.newPage()
const complaints = watch(page)
const text = (side, field) => page.textContent(`[data-side="${side}"] [data-${field}]`)
const clock = () => page.evaluate(() => document.querySelector('[data-side="play"] video').currentTime)
const done = (step) => page.locator(`.steps li.done[data-step="${step}"]`).count()
const shot = async (name) => {
  if (flags.shots) await page.screenshot({ path: join(flags.shots, `${name}.png`), fullPage: true })
}

const open = (protocol) => page.goto(`${base.replace(/\/$/, '')}/?auto=1&protocol=${protocol}${flags.direct ? `&direct=${flags.direct}` : ''}`)

// Publishes and plays with one protocol, from the button to the end.
const checkProtocol = async (protocol) => {
  await check(`${protocol}: a drawn clock is published and played`, async () => {
    await open(protocol)
    assert((await page.title()).includes('tidegate'), 'expected the demo page, found another one')
    await until(() => text('publish', 'state'), (state) => state === 'live')
    await until(() => text('play', 'state'), (state) => state === 'playing')
    return `${await text('play', 'protocol')}, first picture after ${await text('play', 'setup')}, node ${await text('play', 'node')}`
  })

  await check(`${protocol}: the first picture is logged once`, async () => {
    const entries = await page.locator('#log summary', { hasText: 'first picture shown' }).count()
    assert(entries === 1, `expected 1 entry, found ${entries}`)
  })

  await check(`${protocol}: frames arrive and the clock moves`, async () => {
    const before = await clock()
    const media = await until(() => text('play', 'media'), (now) => parseInt(now, 10) >= 30)
    assert(await clock() > before, 'the clock does not move')
    return media
  })

  await check(`${protocol}: every step is done`, async () => {
    await until(() => page.locator('.steps li:not(.done)').count(), (open) => open === 0)
    const handOffs = protocol.endsWith('step') ? 2 : 0
    assert(await done('handed') === handOffs, `expected ${handOffs} hand-offs: only WebSockets have one`)
  })

  await check(`${protocol}: media continues and its delay is shown`, async () => {
    const before = await clock()
    await until(clock, (now) => now > before + 1)
    return `${await until(() => text('play', 'extra'), (delay) => delay.endsWith('ms'))} late`
  })
  await shot(protocol)

  await check(`${protocol}: the player ends when the publisher stops`, async () => {
    await page.evaluate(() => sessions.publish.stop())
    await until(() => text('play', 'state'), (state) => state === 'ended')
    assert(await page.locator('#error').isHidden(), 'expected no error on the page')
  })

  await check(`${protocol}: a failure is shown`, async () => {
    await page.fill('#name', 'missing-stream')
    await page.click('#play')
    // Browsers hide why a WebSocket was refused.
    const expected = protocol === 'one-step' ? 'WebSocket refused' : 'No such stream'
    await until(() => page.textContent('#error strong'), (title) => title === expected)
  })
}

const protocols = flags.direct ? ['two-step'] : ['two-step', 'one-step', 'http-2', 'http-1']
for (const protocol of protocols) await checkProtocol(protocol)

if (!flags.direct) {
  await check('a stream published by WHIP is played over a WebSocket', async () => {
    await open('http-2')
    await until(() => text('play', 'state'), (state) => state === 'playing')
    await page.evaluate(() => sessions.play.stop())
    await page.click('label:has([value="one-step"])')
    await page.click('#play')
    await until(() => text('play', 'state'), (state) => state === 'playing')
    assert(/WHIP/.test(await text('publish', 'protocol')) && /WebSocket/.test(await text('play', 'protocol')), 'each side shows its own protocol')
  })

  await check('a name in use is reported', async () => {
    const name = await page.inputValue('#name')
    const other = await context.newPage()
    await other.goto(`${base.replace(/\/$/, '')}/?protocol=http-1&name=${name}`)
    await other.click('#publish')
    await until(() => other.textContent('#error strong'), (title) => title === 'Name in use')
    await other.close()
  })

  // What sets a gateway apart: it sees that a node is lost, and places the session on another one.
  for (const protocol of ['one-step', 'http-2']) {
    await check(`${protocol}: a node that is killed is replaced by another one`, async () => {
      await open(protocol)
      await until(() => text('play', 'state'), (state) => state === 'playing')
      const first = await until(() => text('play', 'node'), (node) => /^127\.0\.0\.\d$/.test(node))
      await page.click('[data-side="play"] [data-kill]')
      await until(() => page.textContent(`#nodes [data-node="${first}"] .chip`), (state) => state === 'killed')
      await until(() => page.innerText('#log'), (entries) => entries.includes('begins again'))
      await until(() => text('play', 'state'), (state) => state === 'playing')
      const second = await until(() => text('play', 'node'), (node) => /^127\.0\.0\.\d$/.test(node) && node !== first)
      await shot(`killed-${protocol}`)
      return `${first}, then ${second}`
    })
    await check(`${protocol}: a node that was killed can be started again`, async () => {
      await page.click('#nodes button:has-text("Start it again")')
      await until(() => page.locator('#nodes .chip', { hasText: 'killed' }).count(), (killed) => killed === 0)
    })
  }

  await check('what happened in a session is told', async () => {
    const id = await until(() => page.textContent('[data-side="play"] [data-id]'), (shown) => /^[0-9a-f]{16}$/.test(shown))
    await page.click('[data-side="play"] [data-why]')
    const story = await until(() => page.innerText('[data-side="play"] [data-story]'), (told) => told.includes('WHEP'))
    assert(/POST .*whep/.test(story) && /took the request/.test(story), story)
    return id
  })

  await check('a session is kicked, and does not begin again', async () => {
    await page.click('[data-side="play"] [data-kick]')
    await until(() => page.textContent('#error strong'), (title) => title === 'Kicked')
    await until(() => page.innerText('#log'), (entries) => /session [0-9a-f]{16} is kicked/.test(entries))
    await page.waitForTimeout(2500)
    assert(await text('play', 'state') === 'failed', 'it begins again')
    await page.evaluate(() => sessions.publish?.stop())
  })

  await check('the buttons answer no other page', async () => {
    const { buttons, token } = await page.evaluate(() => ({ ...document.body.dataset }))
    const send = (headers) => context.request.post(`${buttons}nodes/127.0.0.1/down`, { headers }).then((answer) => answer.status())
    const authorization = `Bearer ${token}`
    assert(await send({ authorization, origin: 'https://evil.example' }) === 403, 'a foreign page is let in')
    assert(await send({ authorization }) === 403, 'a request without an origin is let in')
    assert(await send({ authorization: 'Bearer x', origin: new URL(base).origin }) === 401, 'a wrong token is let in')
  })

  if (flags.drain) {
    await check('the gateway drains, and the page says so', async () => {
      page.on('dialog', (dialog) => dialog.accept())
      await page.click('#drain')
      await until(() => page.textContent('#phase'), (phase) => /draining|has ended/.test(phase))
    })
  }
}

await check('no script error occurs in the page', async () => assert(complaints.errors.length === 0, complaints.errors[0]))

if (anyFailed()) {
  for (const line of complaints.console) console.log('--- console', line)
  console.log(await page.innerText('main').catch(() => ''))
}
await finish(context)
