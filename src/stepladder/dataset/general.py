"""Easy questions of everyday knowledge with four choices each, which measure what a model forgets in fine-tuning.

Written for this project. They are easy, so that a small model can answer them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from stepladder.dataset.accounts import Place
from stepladder.dataset.formats import Dialect, Record, Table

QUESTIONS = """
What colour is a ripe banana?|yellow|blue|black|purple
What colour is fresh snow?|white|green|red|brown
What colour is grass in spring?|green|pink|orange|grey
How many legs does a spider have?|eight|two|four|ten
How many wheels does a bicycle have?|two|three|five|six
How many days are in a week?|seven|five|nine|twelve
How many months are in a year?|twelve|ten|seven|twenty
How many minutes are in an hour?|sixty|ten|one hundred|thirty
What is two plus two?|four|three|five|seven
What is ten minus three?|seven|eight|five|two
What is three times three?|nine|six|twelve|eight
What is half of twenty?|ten|five|two|forty
Which of these is a fruit?|apple|carrot|bread|cheese
Which of these is a vegetable?|carrot|salmon|butter|rice
Which of these is a bird?|sparrow|trout|cow|ant
Which of these is a fish?|salmon|eagle|horse|bee
Which of these is an insect?|ant|dog|hen|shark
Which of these is a musical instrument?|violin|hammer|ladder|spoon
Which of these is a tool?|hammer|sonnet|cloud|river
Which of these is a piece of furniture?|chair|shirt|bridge|engine
Which animal barks?|dog|cat|cow|duck
Which animal gives us milk?|cow|frog|hawk|snake
Which animal lays eggs?|hen|dog|horse|cow
Which animal makes honey?|bee|mouse|pig|goat
What do bees make?|honey|milk|wool|silk
What do we use to see?|eyes|ears|nose|knees
What do we use to hear?|ears|eyes|feet|teeth
What is the opposite of hot?|cold|warm|wet|loud
What is the opposite of up?|down|left|over|near
What is the opposite of big?|small|tall|wide|heavy
What is the opposite of day?|night|noon|week|summer
What is the opposite of empty?|full|open|flat|soft
What is frozen water called?|ice|steam|sand|oil
At what time of day does the sun rise?|morning|evening|midnight|afternoon
Which season comes after winter?|spring|autumn|summer|harvest
Which day comes after Monday?|Tuesday|Friday|Sunday|Thursday
Which month comes after March?|April|June|January|August
What is the capital of France?|Paris|Rome|Berlin|Madrid
What is the capital of Italy?|Rome|Vienna|Lisbon|Oslo
What is the capital of Japan?|Tokyo|Seoul|Beijing|Bangkok
What is the capital of England?|London|Dublin|Paris|Athens
In which country are the pyramids of Giza?|Egypt|Norway|Brazil|Canada
On which continent is Germany?|Europe|Africa|Asia|Australia
On which continent is Kenya?|Africa|Europe|Asia|South America
Which planet do we live on?|Earth|Mars|Venus|Jupiter
What does the Earth go around?|the Sun|the Moon|Mars|Saturn
Which ocean lies between Europe and America?|Atlantic|Pacific|Indian|Arctic
Which language is spoken in Spain?|Spanish|Swedish|Greek|Polish
Who wrote Romeo and Juliet?|Shakespeare|Mozart|Newton|Picasso
Who painted the Mona Lisa?|Leonardo da Vinci|Beethoven|Einstein|Dickens
What does a doctor treat?|patients|engines|fields|bridges
What does a baker make?|bread|shoes|glass|paper
Where do fish live?|in water|in trees|in the air|under the bed
Where do you borrow books?|library|bakery|garage|stable
What do you use to cut paper?|scissors|spoon|pillow|candle
What do you use to write?|pen|plate|sock|brick
What do plants need to grow?|light and water|salt and smoke|oil and glass|ice and stone
What falls from clouds?|rain|sand|leaves|coins
Which of these is the largest?|elephant|mouse|cat|rabbit
Which of these is the fastest?|aeroplane|bicycle|ship|horse
Which of these melts in the sun?|ice cream|stone|iron|wood
Which of these is made of wood?|table|window pane|coin|magnet
Which of these do you wear on your feet?|shoes|gloves|hat|scarf
Which of these keeps you dry in the rain?|umbrella|ladder|mirror|piano
"""


@dataclass(frozen=True)
class General:
    """The questions as rows (columns question, choices, answer); the order of the choices is fixed."""

    def table(self, name: str, dialect: Dialect) -> Table:
        records = []
        for number, line in enumerate(QUESTIONS.strip().splitlines(), 1):
            question, *choices = line.split("|")
            answer = choices[0]
            random.Random(question).shuffle(choices)
            values = {"question": question, "choices": choices, "answer": answer}
            records.append(Record(Place(name, number, "question"), values))
        return Table(name, ("question", "choices", "answer"), tuple(records))

    def origin(self, name: str) -> str:
        return f"general questions={len(QUESTIONS.strip().splitlines())}"
