// Opens an executed notebook in JupyterLab and measures its figures: none is wider than its place at 700 and at 1,000
// pixels, letters stay legible, in the light and in the dark theme, and figures are numbered in order of appearance.
//
//   node figures.mjs URL FOLDER      screenshots go to FOLDER

import { chromium } from 'playwright-core';

const [url, folder] = process.argv.slice(2);
// What people read on a screen without leaning forward, in CSS pixels.
const LEGIBLE = 8.5;
let passed = 0;
const failures = [];

const check = (what, holds, seen = '') => {
  console.log(`${holds ? 'ok    ' : 'FAILED'} ${what}${holds ? '' : `: ${seen}`}`);
  holds ? passed++ : failures.push(what);
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });

// Every figure as the page shows it. JupyterLab puts SVG into an `img`; its texts are measured in a copy of that size.
const measure = () => page.evaluate(() => {
  const shown = document.querySelectorAll('.jp-Notebook .jp-RenderedSVG img, .jp-Notebook .jp-RenderedSVG svg');
  return [...shown].map((figure) => {
    const area = figure.closest('.jp-OutputArea-output').getBoundingClientRect();
    const box = figure.getBoundingClientRect();
    const source = figure.tagName === 'IMG' ? decodeURIComponent(figure.src.replace(/^[^,]*,/, '')) : figure.outerHTML;
    const copy = document.createElement('div');
    copy.style.cssText = `position:absolute;left:0;top:0;width:${box.width}px;visibility:hidden`;
    copy.innerHTML = source;
    const root = copy.querySelector('svg');
    root.style.cssText = 'width:100%;height:auto';
    document.body.append(copy);
    const letters = [...copy.querySelectorAll('text')].map((text) =>
      parseFloat(getComputedStyle(text).fontSize) * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b));
    const ground = root.querySelector('rect')?.getAttribute('fill');
    const numbers = [...copy.querySelectorAll('text')].flatMap((text) =>
      text.textContent.match(/^\s*Figure (\d+)/) ? [Number(RegExp.$1)] : []);
    copy.remove();
    return {
      broken: figure.tagName === 'IMG' && figure.naturalWidth === 0,
      over: Math.max(box.right - area.right, area.left - box.left), area: area.width, width: box.width,
      smallest: Math.min(...letters), ground, numbers,
    };
  });
});

try {
  await page.goto(url);
  await page.locator('.jp-NotebookPanel').waitFor({ timeout: 120_000 });
  await page.locator('.jp-RenderedSVG').first().waitFor({ timeout: 60_000 });
  await page.waitForTimeout(3000);
  // Side bars would take the notebook's room.
  const area = (await measure())[0].area;
  for (const width of [700, 1000]) {
    await page.setViewportSize({ width: Math.round(1280 + width - area), height: 1000 });
    await page.waitForTimeout(1500);
    const figures = await measure();
    const at = `${Math.round(figures[0].area)} px`;
    const say = (bad) => JSON.stringify(bad.slice(0, 3));
    const over = figures.filter((f) => f.broken || f.over > 1 || f.width < 200);
    check(`at ${at} all ${figures.length} figures fit their place`, figures.length >= 10 && over.length === 0, say(over));
    const small = figures.filter((f) => f.smallest < LEGIBLE);
    check(`at ${at} no letter is smaller than ${LEGIBLE} px`, small.length === 0, say(small));
  }
  const figures = await measure();
  const bare = figures.filter((f) => f.ground !== '#ffffff');
  check('every figure brings its own ground, for a dark page', bare.length === 0, JSON.stringify(bare.slice(0, 3)));
  const numbers = figures.flatMap((f) => f.numbers);
  const steps = numbers.every((n, i) => n === (numbers[i - 1] ?? 0) || n === (numbers[i - 1] ?? 0) + 1);
  check('figures are numbered in order of appearance', numbers[0] === 1 && steps, numbers.join(' '));
  check('every figure has a number', figures.every((f) => f.numbers.length > 0),
    figures.map((f) => f.numbers.length).join(' '));
  for (const theme of ['Light', 'Dark']) {
    await page.evaluate((t) => window.jupyterapp.commands.execute('apputils:change-theme', { theme: `JupyterLab ${t}` }), theme);
    await page.waitForTimeout(1500);
    const all = page.locator('.jp-Notebook .jp-RenderedSVG');
    for (const i of [1, Math.floor(figures.length / 2), figures.length - 1]) {
      await all.nth(i).scrollIntoViewIfNeeded();
      await page.screenshot({ path: `${folder}/figures-${theme.toLowerCase()}-${i}.png` });
    }
  }
} catch (error) {
  failures.push(error.message);
  console.log(`FAILED ${error.stack}`);
  await page.screenshot({ path: `${folder}/figures-failure.png` }).catch(() => {});
} finally {
  await browser.close();
}

console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
