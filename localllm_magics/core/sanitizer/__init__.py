"""Untrusted text made safe to show.

An answer may be written by an attacker whose text the model has read. It is shown by renderers that read Markdown
differently (JupyterLab, nbconvert, VS Code, GitHub) and by terminals, so it has to be safe in each of them.

| threat | defence | test |
|---|---|---|
| HTML: tags, comments, declarations | `<` becomes an entity | test_harmful_syntax_is_rewritten[tags] |
| a tag without an end, which styles the page | only pairs stay | test_harmful_syntax_is_rewritten[unpaired-tags] |
| an image that is loaded from elsewhere | its text and address are written | test_harmful_syntax_is_rewritten[image] |
| an image that is its own address | it is cut | test_harmful_syntax_is_rewritten[other-images] |
| a link that runs a script | only known schemes stay | test_harmful_syntax_is_rewritten[script-link] |
| the same, written with entities | they are decoded first | test_harmful_syntax_is_rewritten[disguised-script-link] |
| the same, as a reference | `]:` is escaped | test_harmful_syntax_is_rewritten[script-definition] |
| an event handler in the title of a link | titles are dropped | test_attacks_fail[math-in-a-title] |
| math that JupyterLab writes into an attribute | it is percent-encoded | test_attacks_fail[math-in-a-link-target] |
| a placeholder of JupyterLab's for math | `@@` is escaped | test_attacks_fail[a-placeholder-in-a-link-target] |
| attributes in braces | `{` becomes an entity | test_harmful_syntax_is_rewritten[attributes] |
| a table or math that ends a code span | its characters become entities | test_attacks_fail[a-table-cuts-a-code-span] |
| a fence inside math | fences stand alone, unindented | test_attacks_fail[math-swallows-a-fence] |
| syntax in the info string of a fence | it is reduced to a name | test_attacks_fail[math-in-an-info-string] |
| a fence that is drawn as a diagram | its kind becomes `text` | test_harmful_syntax_is_rewritten[drawn-kinds] |
| a fence without an end | it is closed | test_harmful_syntax_is_rewritten[unclosed-fence] |
| math commands that load, run or redefine | no backslash is left | test_harmful_syntax_is_rewritten[math-commands] |
| the same, completed by an entity | the entity is escaped | test_harmful_syntax_is_rewritten[entities] |
| math without an end | no backslash is left | test_harmful_syntax_is_rewritten[open-environment] |
| TeX that paints or shifts by any length | lengths have a budget | test_lengths_are_bounded[rule] |
| TeX that is painted over the page | such commands are dropped | test_lengths_are_bounded[hidden-sizes] |
| TeX that is nested or repeated without end | it is shown as code | test_formulas_beyond_the_bounds_are_code |
| a dollar that pairs with another | it stands in an element | test_harmful_syntax_is_rewritten[dollars] |
| math in what is shown as text | so does a backslash | test_plain_text_starts_no_formula_in_the_page |
| lists and quotes in each other | the deeper ones are characters | test_nesting_is_bounded[bullets] |
| emphasis and links in quadratic time | work has a budget | test_beyond_the_bounds_text_is_text[emphasis] |
| a table that fills up its rows | cells have a budget | test_beyond_the_bounds_text_is_text[columns] |
| any beginning of these, in an answer that grows | all of the above | test_every_beginning_of_an_attack_is_safe |
| metadata at the start of the page | `---` becomes `***` | test_harmful_syntax_is_rewritten[front-matter] |
| terminal sequences, reversed text, lone surrogates | they are dropped | test_control_characters_are_dropped |
| text that takes quadratic time | one pass, limited search | test_time_is_linear_in_the_length |
| whatever combines these | all of the above | test_nothing_hostile_survives_in_any_renderer |
"""
