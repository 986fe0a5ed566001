"""Words: which ones carry meaning, and other words for them."""

import re

STOP = frozenset(
    "a an and are as at be but by can for from has have how if in into is it its may more no not "
    "of on one or other our out over same should so some such than that the their them then there "
    "these they this to too under up use using used via was we what when where which while who "
    "why will with within without you your about all also any both each few between do does".split()
)
# Titles of these words alone say nothing without the part they stand in.
GENERIC = frozenset(
    "abstract acknowledgements acknowledgments additional advanced appendix author authors basic "
    "basics command commands comments conclusion conclusions contents copyright credits "
    "description details discussion example examples exercise exercises features figure figures "
    "foreword function functions further general glossary goal goals history information "
    "introduction licence license list main miscellaneous note notes objective objectives option "
    "options other others output overview preface preliminaries problem procedure purpose reading "
    "remark remarks result results routine routines sample section see summary syntax table terms "
    "theory tips topics usage warning warnings".split()
)
# Each word with others for it that keep the sentence whole; the first that is not on the page
# is taken. A term of a program, a product or a formula has none, and its titles no paraphrase.
SYNONYMS: dict[str, tuple[str, ...]] = {
    word: tuple(others.split("/"))
    for word, others in (
        pair.split("=")
        for pair in """
adding=putting in/inserting;additional=extra/further;advanced=sophisticated/harder
advantages=benefits/upsides;analysis=examination/study;applications=uses;arguments=inputs
assumptions=premises;authors=writers/people behind it;automatic=unattended;basic=elementary
basics=fundamentals/first steps;benefits=advantages;building=making/constructing
bugs=defects/mistakes;calculating=working out/computing;calculation=working out;changes=differences
changing=altering/modifying;checking=verifying/testing;choosing=picking/selecting
cleaning=tidying;collection=set/assortment;colors=hues;colours=hues;comments=remarks/annotations
common=frequent/usual;communication=exchange of messages;comparing=contrasting
compatibility=interoperation;complete=entire/whole;components=parts/pieces;concepts=ideas/notions
conclusion=final remarks/what follows;conditions=circumstances/requirements
configuration=settings/set-up;configuring=setting up;connecting=joining/linking
construction=making;contributing=helping out/taking part;controlling=steering/governing
conventions=customs/agreed rules;converting=turning into another form;copyright=legal rights
creating=making/producing;creation=making;credits=thanks;customization=adapting it
customizing=adapting/tailoring;data=values/numbers;debugging=finding faults/troubleshooting
default=preset/standard;defining=specifying/declaring;definition=meaning/what it means
definitions=meanings;deleting=removing/erasing;dependencies=prerequisites
description=explanation/account;details=particulars/specifics;determining=finding out
development=engineering/programming work;device=gadget/apparatus;differences=distinctions
difficulties=obstacles/trouble;displaying=showing;documentation=manuals
downloading=fetching;drawing=sketching;duties=obligations/tasks;editing=altering/revising
efficient=fast/economical;elements=constituents;environment=surroundings
equipment=gear/apparatus;error=fault/mistake;errors=faults/mistakes;guidelines=advice;handbook=manual;guide=manual
hardware=physical devices;identifying=recognising;keyword=reserved name;keywords=reserved names
operators=signs of arithmetic;plots=graphs/charts;repository=store;server=host;servers=hosts
selection=choice;submission=handing in;team=crew/group;theorem=proven statement
evaluating=assessing;example=sample/illustration;examples=samples/illustrations
exercises=tasks to practise;experiment=trial/test;experiments=trials/tests;experimental=tentative
features=capabilities/strengths;fees=charges;file=document;files=documents;finding=locating
format=layout/arrangement;formatting=layout;functions=routines;fundamental=basic/underlying
future=coming;general=overall/broad;generating=producing;getting=obtaining;goals=aims
handling=dealing with/managing;help=assistance;hints=advice/tips;history=past/how it evolved
ideas=thoughts;implementation=realisation;importing=bringing in;improvements=enhancements
information=facts;input=what goes in;inserting=putting in;installation=set-up/deployment
installing=setting up/deploying;instructions=directions;interactive=hands-on
interface=way of access;introduction=first steps/getting started;issues=troubles/concerns
keys=shortcuts;labels=captions/names;large=big/huge;learning=studying
legal=juridical;library=collection of routines;licence=terms of use;license=terms of use
limitations=restrictions/what cannot be done;limits=bounds;list=enumeration/inventory
maintaining=looking after;maintenance=upkeep/care;managing=administering
management=administration;manual=by hand;measurement=gauging;measurements=readings
measuring=gauging/quantifying;members=participants;messages=notices;methods=techniques/approaches
mistakes=errors/slips;modifying=altering;motivation=reasons behind it;moving=relocating
multiple=several/many;names=designations;naming=what things are called;new=recent
notation=symbols;notes=remarks/annotations;numbers=figures;objective=aim/target
objectives=aims/targets;objects=items/things;obtaining=getting hold of;opening=starting
operation=running;optional=voluntary;options=settings/choices
organization=structure;outline=sketch;output=what comes out;overview=survey/summary
parameters=settings;performance=speed;plotting=graphing/charting
policies=rules;preface=foreword/opening remarks;preparation=getting ready
preparing=getting ready;prerequisites=what is needed beforehand;printing=writing out
problem=task/difficulty;problems=difficulties/troubles;procedure=course of action/steps
process=course of action;producing=making;program=software;programming=writing software/coding
programs=software;properties=characteristics;purpose=aim/intention;questions=queries
quick=fast/speedy;reading=loading;recommended=advised/suggested;recommendations=advice
reference=lookup;removing=deleting/taking out;reporting=telling about/notifying
reports=accounts;requirements=what is needed/prerequisites;requesting=asking for
responsibilities=duties/obligations;restrictions=limitations/what is forbidden
results=outcomes/findings;review=inspection;routine=procedure;routines=procedures;rules=regulations
running=executing/launching;sample=illustrative;saving=storing/keeping;scripts=small programs
searching=looking for;security=protection against attacks;selecting=choosing/picking
sending=submitting/dispatching;sets=collections;setting=adjusting;settings=preferences
setup=arrangement/preparation;simple=easy/plain;size=dimensions;software=programs
solution=answer/remedy;solutions=answers/remedies;solving=working out;special=particular
specifications=requirements;specifying=stating;standard=norm;starting=launching/beginning
statistics=figures/numbers;status=state/condition;storing=keeping;structure=organisation
style=look/manner;styles=looks;summary=recap/digest;supported=available;symbols=signs
syntax=grammar/how it is written;table=grid;tables=grids;tasks=jobs;techniques=methods
terminology=vocabulary;testing=trying out/checking;tests=trials/checks;text=wording
theory=principles
time=duration;tips=advice/hints;tools=utilities/instruments;topics=subjects/themes
training=instruction;transforming=converting;troubleshooting=solving difficulties
tutorial=guided lesson/walkthrough;types=sorts/kinds;understanding=grasping
updates=revisions;updating=bringing up to date;upgrading=moving to a newer version
uploading=sending in/submitting;usage=how it is used/application;users=people who work with it
values=quantities;variables=quantities;versions=releases;viewing=looking at
volunteers=unpaid helpers;warnings=cautions;work=labour;workflow=sequence of steps;working=labouring
writing=composing/authoring
""".replace("\n", ";").split(";")
        if pair
    )
}


# These take an object: `dealing with` needs what is dealt with.
OPEN = (" in", " up", " with", " out", " at", " for", " into", " of", " after", " down", " to")


def words(text: str) -> list[str]:
    """Words and numbers in lower case."""
    return re.findall(r"\w+", text.lower())


def content_words(text: str) -> list[str]:
    """Words of three letters or more that are no function words, in lower case."""
    return [word for word in re.findall(r"[^\W\d_]{3,}", text.lower()) if word not in STOP]


def stem(word: str) -> str:
    """A word without common English endings: enough to see that two are forms of one."""
    for ending in ("ations", "ation", "ings", "ing", "ies", "ions", "ion", "es", "ed", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def paraphrase(title: str, page: str) -> str | None:
    """The title with every content word replaced, or None where that cannot be done.

    None of the new content words, nor another form of one, stands on the page: what the query
    shares with its answer is function words.
    """
    present = {stem(word) for word in content_words(page)}
    result, replaced = [], 0
    for place, token in enumerate(title.split()):
        carries = content_words(token)
        if not carries:
            result.append(token.lower())
            continue
        options = SYNONYMS.get(token.lower().strip(",;:()"), ())
        fresh = (
            option
            for option in options
            if _fits(option, place, len(title.split()))
            and not any(stem(word) in present for word in content_words(option))
        )
        chosen = next(fresh, None)
        if chosen is None:
            return None
        result.append(chosen)
        replaced += 1
    return " ".join(result) if replaced >= 2 else None


def _fits(option: str, place: int, count: int) -> bool:
    """Whether other words can stand there: some want an object behind them, some nothing."""
    if " " not in option:
        return True
    return (place == 0 and place + 1 < count) if option.endswith(OPEN) else place + 1 == count
