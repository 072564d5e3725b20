// VitePress's own theme, with what assistive technology needs beyond it.

import { nextTick, onMounted, watch } from 'vue'
import { useRoute } from 'vitepress'
import DefaultTheme from 'vitepress/theme'
// oxlint-disable-next-line import/no-unassigned-import -- a style sheet has nothing to assign
import './style.css'

/**
 * What VitePress leaves out: the home page has no landmark for its content, a group of the sidebar is a button within a button, the
 * words on the button of the search are written without a space, and a table that scrolls sideways cannot be reached by the keyboard.
 */
function amend() {
  const content = document.querySelector('#VPContent')
  if (content?.classList.contains('is-home')) content.setAttribute('role', 'main')
  else content?.removeAttribute('role')
  for (const caret of document.querySelectorAll('.VPSidebarItem .item[role="button"] .caret')) {
    for (const name of ['role', 'tabindex', 'aria-label']) caret.removeAttribute(name)
  }
  for (const keys of document.querySelectorAll('.DocSearch-Button-Keys')) {
    if (keys.previousSibling instanceof Element) keys.before(' ')
  }
  for (const box of document.querySelectorAll('.vp-doc table')) box.setAttribute('tabindex', '0')
}

export default {
  extends: DefaultTheme,
  setup() {
    const route = useRoute()
    onMounted(amend)
    watch(
      () => route.path,
      () => void nextTick(amend),
    )
  },
}
