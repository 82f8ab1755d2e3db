// Opens the demo page as a visitor would and checks that a picture arrives, by every way the page offers.
//
//   node demo.mjs [--shots DIRECTORY] https://localhost:8443
//   node demo.mjs --direct NODES_PORT http://localhost:MANAGER_PORT   two steps only, sandbox nodes without a gateway
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { anyFailed, assert, check, finish, launch, until, watch } from './harness.mjs'

const { values: flags, positionals: [base] } = parseArgs({
  allowPositionals: true,
  options: { direct: { type: 'string' }, shots: { type: 'string' } }
})
if (!base || !/^https?:\/\//.test(base)) {
  console.error('usage: node demo.mjs [--direct NODES_PORT] [--shots DIRECTORY] BASE_URL')
  process.exit(64)
}

const context = await launch()
const page = await context.newPage()
const heard = watch(page)
const text = (side, field) => page.textContent(`[data-side="${side}"] [data-${field}]`)
const clock = () => page.evaluate(() => document.querySelector('[data-side="play"] video').currentTime)
const done = (step) => page.locator(`.steps li.done[data-step="${step}"]`).count()
const shot = async (name) => {
  if (flags.shots) await page.screenshot({ path: join(flags.shots, `${name}.png`), fullPage: true })
}

const open = (way) => page.goto(`${base.replace(/\/$/, '')}/?auto=1&way=${way}${flags.direct ? `&direct=${flags.direct}` : ''}`)

// Both sides of one way, from the button to the end.
const visit = async (way) => {
  await check(`${way}: a drawn clock is published and played`, async () => {
    await open(way)
    assert((await page.title()).includes('tidegate'), 'another page')
    await until(() => text('publish', 'state'), (state) => state === 'live')
    await until(() => text('play', 'state'), (state) => state === 'playing')
    return `${await text('play', 'way')}, first picture after ${await text('play', 'setup')}, node ${await text('play', 'node')}`
  })

  await check(`${way}: there is one first picture`, async () => {
    const told = await page.locator('#log summary', { hasText: 'first picture shown' }).count()
    assert(told === 1, `told ${told} times`)
  })

  await check(`${way}: frames keep coming and the clock moves`, async () => {
    const before = await clock()
    const media = await until(() => text('play', 'media'), (now) => parseInt(now, 10) >= 30)
    assert(await clock() > before, 'the clock stands')
    return media
  })

  await check(`${way}: every step is done`, async () => {
    await until(() => page.locator('.steps li:not(.done)').count(), (open) => open === 0)
    const handed = way.endsWith('step') ? 2 : 0
    assert(await done('handed') === handed, 'the hand-off is for sockets')
  })

  await check(`${way}: media goes on after it, with a delay that can be read off`, async () => {
    const before = await clock()
    await until(clock, (now) => now > before + 1)
    return `${await until(() => text('play', 'extra'), (delay) => delay.endsWith('ms'))} late`
  })
  await shot(way)

  await check(`${way}: the player hears that the publisher stopped`, async () => {
    await page.evaluate(() => sessions.publish.stop())
    await until(() => text('play', 'state'), (state) => state === 'ended')
    assert(await page.locator('#trouble').isHidden(), 'that is no trouble')
  })

  await check(`${way}: a failure is shown`, async () => {
    await page.fill('#name', 'nobody-publishes-this')
    await page.click('#play')
    // Browsers hide why a WebSocket was refused.
    const wanted = way === 'one-step' ? 'WebSocket refused' : 'No such stream'
    await until(() => page.textContent('#trouble strong'), (title) => title === wanted)
  })
}

const ways = flags.direct ? ['two-step'] : ['two-step', 'one-step', 'http-2', 'http-1']
for (const way of ways) await visit(way)

if (!flags.direct) {
  await check('published by WHIP, played by a WebSocket', async () => {
    await open('http-2')
    await until(() => text('play', 'state'), (state) => state === 'playing')
    await page.evaluate(() => sessions.play.stop())
    await page.click('label:has([value="one-step"])')
    await page.click('#play')
    await until(() => text('play', 'state'), (state) => state === 'playing')
    assert(/WHIP/.test(await text('publish', 'way')) && /WebSocket/.test(await text('play', 'way')), 'each side says its own way')
  })

  await check('a name in use is told', async () => {
    const name = await page.inputValue('#name')
    const other = await context.newPage()
    await other.goto(`${base.replace(/\/$/, '')}/?way=http-1&name=${name}`)
    await other.click('#publish')
    await until(() => other.textContent('#trouble strong'), (title) => title === 'Name in use')
    await other.close()
  })
}

await check('the page met no error of its own', async () => assert(heard.errors.length === 0, heard.errors[0]))

if (anyFailed()) {
  for (const line of heard.console) console.log('--- console', line)
  console.log(await page.innerText('main').catch(() => ''))
}
await finish(context)
